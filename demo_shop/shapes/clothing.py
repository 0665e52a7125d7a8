"""Shapes of clothes, shoes and cap."""

import numpy as np

from demo_shop.geometry import mirror_outline, outline_box, outline_ellipse, outline_tube, smooth_outline, smooth_path
from demo_shop.sketch import Sketch


def sketch_t_shirt(s: Sketch) -> None:
    """Add a laid-out shirt with short sleeves and a round or V neck."""
    w, h, neck = s.draw_measures((0.46, 0.56), (1.15, 1.35), (0.17, 0.23))
    sleeve, drop = s.draw_measures((0.3, 0.42), (0.32, 0.42))
    dip = s.draw_measure(0.24, 0.32) if s.draw_bool(0.3) else s.draw_measure(0.1, 0.16)
    half = [(neck, 0), (w * 0.95, 0.09), (w + sleeve, drop + 0.02), (w + sleeve * 0.72, drop + 0.24),
            (w, 0.42), (w * s.draw_measure(0.93, 1.0), h * 0.6), (w * s.draw_measure(0.96, 1.06), h)]  # fmt: skip
    front = smooth_path([(neck, 0), (neck * 0.72, dip * 0.75), (0, dip)])
    s.add_part(outline_ellipse(0, 0.03, neck * 0.98, 0.05), "inside", "flat")
    s.add_part(mirror_outline(np.vstack([front[::-1], half])), "main", "sheet", 0.7)
    collar = np.vstack([front, front[::-1][1:] * (-1, 1)])
    s.add_part(outline_tube(collar, 0.055), s.choose("base", "second", "base"), "flat")
    for side in (-1, 1):
        s.add_stroke([(side * w, 0.42), (side * w * 0.93, 0.1)], 0.014)
        s.add_stroke([(side * (w + sleeve * 0.95), drop - 0.02), (side * (w + sleeve * 0.68), drop + 0.19)], 0.012)
        s.add_stroke(smooth_path([(side * w * 0.9, 0.48), (side * w * 0.6, 0.62), (side * w * 0.5, 0.85)]), 0.03, -0.12)
    s.add_stroke([(-w, h - 0.05), (w, h - 0.05)], 0.012)


def sketch_dress(s: Sketch) -> None:
    """Add a dress with fitted top, waist and flared skirt, with straps or short sleeves."""
    bust, waist, hem = s.draw_measures((0.27, 0.33), (0.2, 0.25), (0.45, 0.75))
    cut, h, dip = s.draw_measures((0.62, 0.75), (1.6, 2.05), (0.1, 0.24))
    if s.draw_bool(0.5):
        for side in (-1, 1):
            s.add_part(outline_tube([(side * 0.15, 0.0), (side * 0.2, 0.3)], 0.07), "base", "flat")
        top = [(0, 0.28 + dip * 0.4), (0.18, 0.2), (bust, 0.3)]
    else:
        s.add_part(outline_ellipse(0, 0.03, 0.15, 0.04), "inside", "flat")
        cap = s.draw_measure(0.12, 0.24)
        sleeve = [(bust, 0.06), (bust + cap, 0.3), (bust + cap * 0.6, 0.4), (bust, 0.3)]
        top = [(0, dip), (0.1, dip * 0.7), (0.15, 0), *sleeve]
    flank = smooth_path([(bust, 0.32), (waist, cut), (waist * 0.5 + hem * 0.5, (cut + h) / 2), (hem, h)])
    wave = np.column_stack([np.linspace(hem, 0, 24), h + 0.035 * np.cos(np.linspace(0, s.draw_measure(9, 16), 24))])
    s.add_part(mirror_outline(np.vstack([top, flank, wave])), "main", "sheet", 0.9)
    for x in np.linspace(-0.75, 0.75, 6):
        s.add_stroke([(x * waist, cut + 0.06), (x * hem, h * 0.97)], 0.022, -0.16 if x < 0 else 0.10)
    if s.draw_bool(0.5):
        belt = s.choose("second", "dark", "base")
        s.add_part(outline_box(-waist * 1.06, cut - 0.045, waist * 1.06, cut + 0.045, 0.02), belt, "turned")
    else:
        s.add_stroke([(-waist, cut), (waist, cut)], 0.014)


def sketch_trousers(s: Sketch) -> None:
    """Add laid-out trousers: waistband, two legs, pockets, crease."""
    w, hip, h = s.draw_measures((0.34, 0.4), (0.44, 0.5), (1.7, 2.0))
    hem, gap, rise = s.draw_measures((0.17, 0.3), (0.04, 0.14), (0.5, 0.62))
    centre = gap + hem
    half = smooth_path([(w, 0), (hip, rise * 0.6), (centre + hem * 0.85, h * 0.6), (centre + hem, h)])
    inner = smooth_path([(centre - hem, h), (gap * 0.8 + 0.02, h * 0.6), (0, rise)])
    s.add_part(mirror_outline(np.vstack([[(0, 0)], half, inner])), "main", "sheet", 0.8)
    s.add_part(outline_box(-w * 1.02, -0.02, w * 1.02, 0.09, 0.015), "base", "sheet")
    s.add_stroke([(0, 0.09), (0, rise)], 0.014)
    for side in (-1, 1):
        s.add_stroke(smooth_path([(side * w * 0.55, 0.09), (side * w * 0.8, 0.26), (side * hip * 0.97, 0.3)]), 0.014)
        s.add_stroke([(side * centre * 0.9, rise * 0.9), (side * centre, h * 0.98)], 0.016, 0.12)
        s.add_stroke([(side * (centre - hem), h - 0.06), (side * (centre + hem), h - 0.06)], 0.010)
    s.add_part(outline_ellipse(0, 0.035, 0.025, 0.025), "metal", "puff")


def sketch_sneaker(s: Sketch) -> None:
    """Add a sports shoe from the side: sole, upper, toe cap, laces, heel patch."""
    high, sole = s.draw_measures((0.66, 1.0), (0.15, 0.24))
    tongue = [(0.36, -high), (0.62, -high * 0.98), (0.72, -high * 0.62), (0.44, -high * 0.6)]
    s.add_part(smooth_outline(tongue), "second", "puff")
    upper = smooth_outline(
        [(-0.98, -0.02), (-0.95, -0.2), (-0.6, -0.36), (-0.1, -0.5), (0.12, -high * 0.92), (0.34, -high),
         (0.42, -high * 0.82), (0.72, -high * 0.8), (0.86, -high * 0.96), (0.94, -high * 0.5), (0.95, -0.02)], steps=8
    )  # fmt: skip
    s.add_part(upper, "main", "puff", 0.6)
    if s.draw_bool(0.6):
        toe = smooth_outline([(-0.99, 0.0), (-0.96, -0.2), (-0.74, -0.3), (-0.6, -0.16), (-0.56, 0.0)])
        s.add_part(toe, s.choose("light", "second"), "puff", 0.6)
    if s.draw_bool(0.5):
        patch = [(0.95, -0.02), (0.94, -high * 0.6), (0.78, -high * 0.55), (0.74, -0.02)]
        s.add_part(smooth_outline(patch), "second", "puff", 0.4)
    rubber = s.choose("light", "light", "dark", "gum")
    heel = s.draw_measure(0.0, 0.06)
    sole_edge = [(-1.02, -0.03), (-0.3, -0.05), (0.98, -0.06 - heel), (1.0, sole * 0.8), (0.5, sole), (-0.6, sole),
                 (-1.0, sole * 0.7)]  # fmt: skip
    s.add_part(smooth_outline(sole_edge), rubber, "puff", 0.3)
    s.add_stroke([(-0.98, sole * 0.45), (0.98, sole * 0.45)], 0.016, -0.25)
    for step in np.linspace(0, 1, 4):
        x, y = -0.42 + 0.62 * step, -0.42 - (high * 0.86 - 0.42) * step
        s.add_stroke([(x - 0.05, y - 0.02), (x + 0.13, y + 0.13)], 0.04, paint="light")


def sketch_boot(s: Sketch) -> None:
    """Add a rain boot from the side: shaft, foot, sole with heel, band at the top."""
    h, shaft, bend = s.draw_measures((1.05, 1.5), (0.24, 0.3), (0.3, 0.4))
    toe = s.draw_measure(0.72, 0.85)
    s.add_part(outline_ellipse(0, -h, shaft, 0.07), "inside", "flat")
    outline = [(-shaft, -h), (-shaft * 0.9, -h * 0.5), (-shaft * 1.02, -0.15), (-shaft * 0.95, 0.02), (toe * 0.6, 0.02),
               (toe, 0.0), (toe * 1.02, -0.16), (toe * 0.72, -0.28), (shaft + 0.06, -bend), (shaft * 0.86, -h * 0.55),
               (shaft, -h), (0, -h + 0.055)]  # fmt: skip
    s.add_part(smooth_outline(outline, steps=8), "main", "puff", 0.8, 1.3)
    sole = [(-shaft * 1.06, -0.03), (toe * 1.06, -0.04), (toe * 1.05, 0.08), (0.16, 0.08), (0.1, 0.16),
            (-shaft * 1.02, 0.17)]  # fmt: skip
    s.add_part(smooth_outline(sole, steps=6), s.choose("dark", "gum", "light"), "puff", 0.3)
    band = smooth_path([(-shaft * 1.02, -h + 0.03), (0, -h + 0.1), (shaft * 1.02, -h + 0.03)])
    s.add_part(outline_tube(band, 0.09), s.choose("base", "second", "dark"), "flat")
    if s.draw_bool(0.4):
        s.add_part(outline_box(shaft * 0.55, -h * 0.86, shaft * 1.15, -h * 0.8, 0.02), "dark", "flat")


def sketch_cap(s: Sketch) -> None:
    """Add a visor cap in three-quarter view: dome of panels, peak, button."""
    h, peak = s.draw_measures((0.55, 0.7), (0.42, 0.6))
    left = [(-0.6, 0.0), (-0.6, -0.25), (-0.42, -h * 0.85)]
    right = [(0.38, -h * 0.85), (0.58, -0.28), (0.6, 0.0)]
    s.add_part(smooth_outline([*left, (0.0, -h), *right, (0.0, 0.07)]), "main", "puff", 1.0)
    for x in (-0.3, 0.08, 0.4):
        s.add_stroke(smooth_path([(0.02, -h), (x * 1.02, -h * 0.6), (x * 1.2, 0.02)]), 0.012)
    s.add_part(outline_ellipse(0.0, -h, 0.05, 0.03), "base", "puff")
    visor_top = [(-0.6, 0.0), (-0.1, 0.03), (0.3, -0.06), (0.42 + peak * 0.6, 0.06)]
    visor_edge = [(0.4 + peak, 0.22), (0.1, 0.2), (-0.55, 0.12)]
    s.add_part(smooth_outline(visor_top + visor_edge), s.choose("main", "second", "base"), "puff", 0.5)
    for offset in (0.03, 0.06):
        s.add_stroke(smooth_path([(-0.5, 0.10 - offset / 2), (0.1, 0.19 - offset), (0.36 + peak, 0.2 - offset)]), 0.007)
