"""Shapes of guitar and ball."""

import numpy as np

from demo_shop.geometry import mirror_outline, outline_box, outline_ellipse, rotate_outline, smooth_path
from demo_shop.sketch import Sketch


def sketch_guitar(s: Sketch) -> None:
    """Add an upright acoustic guitar: waisted body, sound hole, neck, head, strings."""
    upper, lower, waist = s.draw_measures((0.38, 0.44), (0.5, 0.58), (0.3, 0.38))
    neck = s.draw_measure(0.6, 0.8)
    top = -0.1
    s.add_part(outline_box(-0.12, top - neck - 0.26, 0.12, top - neck, 0.03), s.choose("wood", "dark"), "sheet")
    for side in (-1, 1):
        for k in range(3):
            s.add_part(outline_ellipse(side * 0.15, top - neck - 0.06 - 0.08 * k, 0.035, 0.03), "metal", "puff")
    flank = [(upper * 0.6, top + 0.01), (upper, top + 0.24), (waist, top + 0.52), (lower, top + 0.86)]
    body = smooth_path([(0, top), *flank, (lower * 0.66, top + 1.16), (0, top + 1.2)])
    s.add_part(mirror_outline(body) * (1.05, 1.02), "wood", "puff", 0.4)
    s.add_part(mirror_outline(body), "main", "sheet", 0.8, 1.4)
    s.add_part(outline_box(-0.075, top - neck, 0.075, top + 0.32), "darkwood", "sheet")
    for k in range(7):
        y = top - neck + 0.04 + neck * (1 - 0.86**k) * 1.25
        s.add_stroke([(-0.07, y), (0.07, y)], 0.012, paint="metal")
    s.add_part(outline_ellipse(0, top + 0.5, 0.17, 0.17), "second", "flat")
    s.add_part(outline_ellipse(0, top + 0.5, 0.14, 0.14), "hole", "flat")
    s.add_part(outline_box(-0.19, top + 0.9, 0.19, top + 0.97, 0.02), "darkwood", "puff")
    for x in np.linspace(-0.05, 0.05, 4):
        s.add_stroke([(x * 0.8, top - neck - 0.1), (x, top + 0.93)], 0.007, paint="metal")


def sketch_ball(s: Sketch) -> None:
    """Add a ball with seams: meridians, a cross, a band or none."""
    s.add_part(outline_ellipse(0, 0, 0.7, 0.7), "main", "ball", 1.0, 1.4)
    style = s.choose("meridians", "cross", "band", "none")
    turn = s.draw_measure(0, 180)
    if style == "meridians":
        for rx in (0.12, 0.42):
            for start in (90, 270):
                s.add_stroke(rotate_outline(outline_ellipse(0, 0, rx, 0.7, start, start + 180), turn), 0.016)
    elif style == "cross":
        for extra in (0, 90):
            s.add_stroke(rotate_outline(outline_ellipse(0, 0, 0.7, 0.2, 0, 180), turn + extra), 0.02)
    elif style == "band":
        for dy in (0.0, 0.16):
            band = outline_ellipse(0, dy, 0.69 - dy * 0.1, 0.18, 0, 180)
            s.add_stroke(rotate_outline(band, turn), 0.02, paint="second")
