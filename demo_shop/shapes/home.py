"""Shapes of lamp, cushion and armchair."""

import numpy as np

from demo_shop.geometry import mirror_outline, outline_box, outline_ellipse, outline_tube, outline_vessel, smooth_path
from demo_shop.sketch import Sketch


def sketch_lamp(s: Sketch) -> None:
    """Add a table lamp: a shade with the pattern, a stem or a round body, a foot."""
    top, low, high = s.draw_measures((0.26, 0.5), (0.52, 0.64), (0.55, 0.75))
    stand = s.draw_measure(0.45, 0.7)
    end = high + stand
    metal = s.choose("metal", "wood", "dark", "light")
    foot, foot_top = outline_vessel([(s.draw_measure(0.24, 0.34), end), (0.34, end + 0.06)], 0.2, curve=False)
    s.add_part(foot, metal, "turned")
    s.add_part(foot_top, metal, "flat")
    if s.draw_bool(0.5):
        body, _ = outline_vessel([(0.06, high), (s.draw_measure(0.16, 0.26), end - stand * 0.4), (0.12, end)], 0.2)
        s.add_part(body, metal, "turned")
    else:
        s.add_part(outline_tube([(0, high - 0.05), (0, end)], s.draw_measure(0.05, 0.09)), metal, "turned")
    waist = (top + low) / 2 - s.draw_measure(0, 0.05)
    shade, opening = outline_vessel([(top, 0), (waist, high / 2), (low, high)], 0.14)
    s.add_part(shade, "main", "turned", 0.45)
    s.add_part(opening, "glow", "flat")
    if s.draw_bool(0.5):
        s.add_stroke(outline_ellipse(0, high - 0.02, low, low * 0.14, 0, 180), 0.035, paint="second")


def sketch_cushion(s: Sketch) -> None:
    """Add a square or long cushion with drawn-in sides."""
    w = 0.6
    h = 0.6 if s.draw_bool(0.7) else 0.42
    pinch = s.draw_measure(0.03, 0.09)
    half = [(0, -h + pinch), (w * 0.6, -h + pinch * 0.7), (w, -h), (w - pinch, -h * 0.5), (w - pinch * 1.4, 0),
            (w - pinch, h * 0.5), (w, h), (w * 0.6, h - pinch * 0.7), (0, h - pinch)]  # fmt: skip
    outline = mirror_outline(smooth_path(half, steps=8))
    if s.draw_bool(0.4):
        s.add_part(outline * s.draw_measure(1.04, 1.08), "second", "puff", 0.5)
    s.add_part(outline, "main", "puff", 1.0)
    if s.draw_bool(0.3):
        s.add_part(outline_ellipse(0, 0, 0.05, 0.05), "base", "puff", 1.0)
        for angle in np.linspace(0, 2 * np.pi, 6, endpoint=False):
            c, sn = np.cos(angle), np.sin(angle)
            s.add_stroke([(0.06 * c, 0.06 * sn), (0.2 * c, 0.2 * sn)], 0.012)
    else:
        for side in (-1, 1):
            s.add_stroke([(side * w * 0.86, -h * 0.84), (side * w * 0.66, -h * 0.58)], 0.018, -0.2)
            s.add_stroke([(side * w * 0.86, h * 0.84), (side * w * 0.62, h * 0.6)], 0.018, -0.2)


def sketch_armchair(s: Sketch) -> None:
    """Add an upholstered chair from the front: back, seat, two arms, four legs."""
    w, back, r = s.draw_measures((0.38, 0.48), (0.85, 1.15), (0.08, 0.34))
    seat_y = back * 0.62
    seat_h, arm_w, arm_share, leg_h = s.draw_measures((0.2, 0.28), (0.13, 0.2), (0.32, 0.5), (0.3, 0.4))
    arm_y = back * arm_share
    floor = seat_y + seat_h + leg_h
    legs = s.choose("wood", "wood", "metal", "dark")
    spread = s.draw_measure(0.0, 0.12)
    for side in (-1, 1):
        for x, shade in ((w * 0.55, 0.08), (w + arm_w * 0.4, 0.0)):
            leg = [(side * x, seat_y + seat_h), (side * (x + spread), floor - shade)]
            s.add_part(outline_tube(leg, 0.075, 0.045), legs, "turned")
    s.add_part(outline_box(-w, 0, w, seat_y + 0.15, r), "main", "puff", 0.8)
    if s.draw_bool(0.35):
        for x in (-w / 3, w / 3):
            s.add_stroke([(x, 0.06), (x, seat_y)], 0.018)
    s.add_part(outline_box(-w, seat_y + 0.08, w, seat_y + seat_h + 0.05, 0.06), "base", "puff", 0.5)
    s.add_part(outline_box(-w * 0.98, seat_y - 0.06, w * 0.98, seat_y + seat_h * 0.62, 0.1), "main", "puff", 0.9)
    for side in (-1, 1):
        left, right = sorted((side * (w - 0.04), side * (w + arm_w)))
        arm = outline_box(left, arm_y, right, seat_y + seat_h + 0.06, s.draw_measure(0.06, 0.12))
        s.add_part(arm, "main", "puff", 0.8)
