"""Shapes of vessels: bodies of revolution, seen slightly from above."""

import numpy as np

from demo_shop.geometry import outline_ellipse, outline_tube, outline_vessel, shift_outline, smooth_path
from demo_shop.sketch import Sketch


def sketch_mug(s: Sketch) -> None:
    """Add a cylindrical or tapered mug with an ear-shaped handle."""
    h, tilt = s.draw_measures((0.85, 1.25), (0.16, 0.26))
    rim = 0.5
    foot = s.draw_measure(0.34, 0.5)
    belly = (rim + foot) / 2 + s.draw_measure(-0.02, 0.06)
    ear = s.draw_measure(0.26, 0.4)
    top, low = (share * h for share in s.draw_measures((0.16, 0.26), (0.7, 0.82)))
    path = [(0.4, top), (0.5 + ear * 0.8, top), (0.5 + ear, (top + low) / 2), (0.48 + ear * 0.6, low), (0.38, low)]
    s.add_part(outline_tube(smooth_path(path), s.draw_measure(0.08, 0.13)), s.choose("base", "base", "second"))
    body, opening = outline_vessel([(rim, 0), (belly, h * 0.5), (foot * 1.02, h * 0.92), (foot * 0.9, h)], tilt)
    s.add_part(body, "main", "turned")
    _add_opening(s, opening, rim, tilt)


def sketch_bowl(s: Sketch) -> None:
    """Add a wide bowl on a small foot."""
    h, tilt, foot = s.draw_measures((0.4, 0.62), (0.2, 0.32), (0.2, 0.34))
    ring, _ = outline_vessel([(foot, h * 0.9), (foot, h * 1.08)], tilt * 0.6, curve=False)
    s.add_part(ring, "base", "turned")
    upper, lower = s.draw_measures((0.66, 0.73), (0.42, 0.52))
    body, opening = outline_vessel([(0.75, 0), (upper, h * 0.4), (lower, h * 0.8), (foot, h)], tilt)
    s.add_part(body, "main", "turned")
    _add_opening(s, opening, 0.75, tilt)


def sketch_teapot(s: Sketch) -> None:
    """Add a teapot with a round belly, spout, handle and lid."""
    r, h = s.draw_measures((0.5, 0.6), (0.75, 1.0))
    mid = h * s.draw_measure(0.5, 0.62)
    handle = smooth_path([(-r * 0.75, h * 0.2), (-r - 0.25, h * 0.12), (-r - 0.32, mid), (-r * 0.85, h * 0.78)])
    s.add_part(outline_tube(handle, s.draw_measure(0.07, 0.11)), s.choose("base", "wood", "base"))
    spout = [(r * 0.6, h * 0.72), (r + 0.12, h * 0.6), (r + 0.2, h * 0.25), (r + 0.4, s.draw_measure(-0.05, 0.1))]
    s.add_part(outline_tube(smooth_path(spout), 0.24, 0.09), "base")
    body, _ = outline_vessel([(r * 0.55, 0), (r * 0.86, h * 0.18), (r, mid), (r * 0.85, h * 0.88), (r * 0.6, h)], 0.18)
    s.add_part(body, "main", "turned")
    lid, _ = outline_vessel([(0.06, -0.16), (r * 0.42, -0.1), (r * 0.56, 0.0)], 0.2)
    s.add_part(lid, s.choose("base", "second", "base"), "puff")
    s.add_part(outline_ellipse(0, -0.2, s.draw_measure(0.06, 0.09), 0.075), s.choose("base", "wood"), "puff", 0.9)


def sketch_bottle(s: Sketch) -> None:
    """Add a drinking bottle with shoulder and screw cap, sometimes with a loop."""
    h, r = s.draw_measures((1.5, 2.0), (0.3, 0.38))
    neck = r * s.draw_measure(0.5, 0.75)
    shoulder = s.draw_measure(0.2, 0.36)
    if s.draw_bool(0.4):
        s.add_part(outline_tube(outline_ellipse(0, -0.2, 0.2, 0.17, 180, 360), 0.06), "dark")
    profile = [(neck, 0), (neck, 0.08), (r, shoulder), (r, h * 0.95), (r * 0.92, h)]
    body, _ = outline_vessel(profile, 0.12, curve=s.draw_bool(0.6))
    s.add_part(body, "main", "turned", gloss=1.3)
    cap_high = s.draw_measure(0.18, 0.28)
    cap, lid = outline_vessel([(neck * 1.08, -cap_high), (neck * 1.1, 0.05)], 0.14, curve=False)
    paint = s.choose("dark", "metal", "wood")
    s.add_part(cap, paint, "turned")
    s.add_part(lid, paint, "flat")
    if s.draw_bool(0.5):
        band, _ = outline_vessel([(r * 1.01, h * 0.86), (r * 0.95, h)], 0.12, curve=False)
        s.add_part(band, "dark", "turned", 0.5)


def sketch_vase(s: Sketch) -> None:
    """Add a flower vase in one of four profiles."""
    h = s.draw_measure(1.2, 1.8)
    profiles = {
        "amphora": [(0.26, 0), (0.16, h * 0.16), (0.46, h * 0.42), (0.36, h * 0.75), (0.2, h)],
        "bulb": [(0.13, 0), (0.12, h * 0.3), (0.3, h * 0.5), (0.5, h * 0.78), (0.3, h)],
        "cone": [(0.42, 0), (0.36, h * 0.4), (0.28, h * 0.75), (0.24, h)],
        "barrel": [(0.24, 0), (0.4, h * 0.25), (0.45, h * 0.55), (0.34, h * 0.85), (0.26, h)],
    }
    profile = profiles[s.choose(*profiles)]
    width = s.draw_measure(0.9, 1.2)
    body, opening = outline_vessel([(r * width, y) for r, y in profile], 0.2)
    if s.draw_bool(0.25):
        for side in (-1, 1):
            ear = smooth_path([(side * 0.2, 0.12 * h), (side * 0.5, 0.1 * h), (side * 0.42, 0.4 * h)])
            s.add_part(outline_tube(ear, 0.07), "base")
    s.add_part(body, "main", "turned")
    _add_opening(s, opening, profile[0][0] * width, 0.2)


def _add_opening(s: Sketch, opening: np.ndarray, radius: float, tilt: float) -> None:
    """Add the rim of a vessel and the shadow inside it."""
    s.add_part(opening, "base", "flat")
    shadow = outline_ellipse(0, 0, radius * 0.92, radius * tilt * 0.86)
    s.add_part(shift_outline(shadow, 0, radius * 0.015), "inside", "flat")
