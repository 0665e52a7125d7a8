"""Shapes of bags, watch and umbrella."""

import itertools

import numpy as np

from demo_shop.geometry import mirror_outline, outline_box, outline_ellipse, outline_tube, shift_outline, smooth_path
from demo_shop.sketch import Sketch


def sketch_backpack(s: Sketch) -> None:
    """Add a backpack from the front: body, pocket, zips, loop, shoulder straps at the sides."""
    w, h, r = s.draw_measures((0.46, 0.56), (1.2, 1.45), (0.16, 0.34))
    for side in (-1, 1):
        strap = smooth_path([(side * w * 0.6, 0.1), (side * (w + 0.14), h * 0.45), (side * w * 0.85, h * 0.92)])
        s.add_part(outline_tube(strap, 0.12, 0.06), "dark", "puff", 0.5)
    s.add_part(outline_tube(outline_ellipse(0, 0.02, 0.14, 0.14, 180, 360), 0.055), "dark", "puff")
    s.add_part(outline_box(-w, 0, w, h, r), "main", "puff", 0.7)
    pocket = h * s.draw_measure(0.5, 0.6)
    style = s.choose("pocket", "flap", "two")
    if style == "flap":
        half = [(0, -0.02), (w * 0.9, 0.02), (w * 1.03, h * 0.3), (w * 0.8, h * 0.52), (0, h * 0.55)]
        s.add_part(mirror_outline(smooth_path(half)), "main", "puff", 0.5)
        s.add_part(outline_box(-0.05, h * 0.42, 0.05, h * 0.7, 0.02), "leather", "flat")
        s.add_part(outline_box(-0.06, h * 0.6, 0.06, h * 0.67, 0.015), "metal", "flat")
        return
    zip_line = [(-w * 0.92, h * 0.42), (-w * 0.6, h * 0.16), (w * 0.6, h * 0.16), (w * 0.92, h * 0.42)]
    s.add_stroke(smooth_path(zip_line), 0.03, -0.45)
    s.add_part(outline_box(-w * 0.78, pocket, w * 0.78, h * 0.94, 0.1), s.choose("second", "base", "main"), "puff", 0.7)
    s.add_stroke([(-w * 0.66, pocket + 0.1), (w * 0.66, pocket + 0.1)], 0.026, -0.45)
    s.add_part(outline_box(w * 0.5, pocket + 0.09, w * 0.56, pocket + 0.2, 0.01), "metal", "flat")
    if style == "two":
        s.add_part(outline_box(-0.11, pocket - 0.2, 0.11, pocket - 0.08, 0.02), "leather", "flat")


def sketch_handbag(s: Sketch) -> None:
    """Add a trapezoid handbag with a bow handle, sometimes with a flap and a clasp."""
    top, low, h = s.draw_measures((0.46, 0.62), (0.6, 0.74), (0.62, 0.9))
    rise = s.draw_measure(0.3, 0.5)
    bow = [(-top * 0.62, 0.04), (-top * 0.5, -rise * 0.75), (0, -rise), (top * 0.5, -rise * 0.75), (top * 0.62, 0.04)]
    handle = smooth_path(bow)
    paint = s.choose("leather", "base", "dark")
    s.add_part(outline_tube(shift_outline(handle, 0.04, -0.03), 0.045), paint, "puff", 0.4)
    half = [(0, 0), (top * 0.9, 0.01), (low * 0.96, h * 0.6), (low, h * 0.9), (low * 0.9, h), (0, h)]
    s.add_part(mirror_outline(smooth_path(half, steps=8)), "main", "puff", 0.6)
    s.add_part(outline_tube(handle, 0.055), paint, "puff", 0.6)
    for side in (-1, 1):
        s.add_part(outline_ellipse(side * top * 0.62, 0.05, 0.035, 0.045), "metal", "puff")
    if s.draw_bool(0.5):
        drop = h * s.draw_measure(0.35, 0.5)
        flap = [(0, -0.01), (top * 0.92, 0.0), (top * 0.95, drop * 0.5), (top * 0.4, drop), (0, drop * 1.05)]
        s.add_part(mirror_outline(smooth_path(flap)), s.choose("main", "base"), "puff", 0.4)
        s.add_part(outline_box(-0.05, drop - 0.07, 0.05, drop + 0.05, 0.015), "metal", "puff", 0.4)
    else:
        s.add_stroke([(-top * 0.96, 0.08), (top * 0.96, 0.08)], 0.014)
        s.add_stroke(smooth_path([(-low * 0.98, h * 0.8), (0, h * 0.84), (low * 0.98, h * 0.8)]), 0.012)


def sketch_watch(s: Sketch) -> None:
    """Add a wrist watch: broad strap through a round or square case, dial with hands."""
    w, r, length = s.draw_measures((0.26, 0.32), (0.34, 0.4), (1.0, 1.2))
    for end in (-1, 1):
        strap = mirror_outline([(w, end * 0.2), (w * 0.94, end * length * 0.75), (w * 0.74, end * length)])
        s.add_part(strap, "main", "turned", 0.7)
        for side in (-1, 1):
            s.add_stroke([(side * w * 0.88, end * 0.36), (side * w * 0.7, end * length * 0.95)], 0.010, 0.2)
    for k in range(4):
        s.add_stroke(outline_ellipse(0, length * (0.6 + 0.09 * k), 0.022, 0.022), 0.014, -0.6)
    case = s.choose("metal", "metal", "gold", "dark")
    square = s.draw_bool(0.3)
    s.add_part(outline_box(r * 0.9, -0.05, r + 0.07, 0.05, 0.02), case, "turned")
    if square:
        ring = outline_box(-r, -r, r, r, 0.12)
        face = outline_box(-r * 0.82, -r * 0.82, r * 0.82, r * 0.82, 0.08)
    else:
        ring = outline_ellipse(0, 0, r, r)
        face = outline_ellipse(0, 0, r * 0.84, r * 0.84)
    s.add_part(ring, case, "puff", 0.8)
    dial = s.choose("light", "light", "dark")
    ink = "dark" if dial == "light" else "light"
    s.add_part(face, dial, "flat")
    for hour in range(12):
        c, sn = np.cos(hour * np.pi / 6), np.sin(hour * np.pi / 6)
        s.add_stroke([(r * 0.66 * c, r * 0.66 * sn), (r * 0.77 * c, r * 0.77 * sn)], 0.02, paint=ink)
    for angle, reach in ((s.draw_measure(0, 6.28), 0.42), (s.draw_measure(0, 6.28), 0.62)):
        s.add_stroke([(0, 0), (r * reach * np.cos(angle), r * reach * np.sin(angle))], 0.024, paint=ink)


def sketch_umbrella(s: Sketch) -> None:
    """Add an open umbrella from the side: scalloped canopy, ribs, stick, crook."""
    r = 0.9
    h = s.draw_measure(0.55, 0.75)
    n = int(s.draw_measure(4, 6.99))
    stick = s.draw_measure(0.75, 1.0)
    handle = s.choose("wood", "dark", "wood")
    s.add_part(outline_tube([(0, 0.0), (0, stick)], 0.035), "metal", "turned")
    crook = np.vstack([[(0, stick * 0.72)], [(0, stick)], outline_ellipse(0.11, stick, 0.11, 0.13, 180, 0)])
    s.add_part(outline_tube(crook, 0.065), handle, "puff")
    s.add_part(outline_tube([(0, -h - 0.12), (0, -h + 0.05)], 0.035), "metal", "turned")
    edge = np.linspace(-r, r, n + 1)
    scallops = [outline_ellipse((a + b) / 2, 0, (b - a) / 2, -0.09, 180, 0) for a, b in itertools.pairwise(edge)]
    left = [(-r, 0.0), (-r * 0.86, -h * 0.5), (-r * 0.5, -h * 0.86)]
    dome = smooth_path([*left, (0.0, -h), *[(-x, y) for x, y in reversed(left)]])
    s.add_part(np.vstack([dome, np.vstack(scallops)[::-1]]), "main", "puff", 1.0)
    for x in edge[1:-1]:
        s.add_stroke(smooth_path([(0, -h), (x * 0.8, -h * 0.6), (x, 0.0)]), 0.012, -0.3)
