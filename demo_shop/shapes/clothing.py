"""Clothes, shoes and a cap."""

import numpy as np

from demo_shop.geometry import box, ellipse, mirrored, shifted, smooth, tube
from demo_shop.sketch import Sketch


def t_shirt(s: Sketch) -> None:
    """Laid-out shirt with short sleeves and a round or V neck."""
    w, h, neck = s.vary(0.46, 0.56), s.vary(1.15, 1.35), s.vary(0.17, 0.23)
    sleeve, drop = s.vary(0.3, 0.42), s.vary(0.32, 0.42)
    dip = s.vary(0.24, 0.32) if s.chance(0.3) else s.vary(0.1, 0.16)
    half = [(neck, 0), (w * 0.95, 0.09), (w + sleeve, drop + 0.02), (w + sleeve * 0.72, drop + 0.24),
            (w, 0.42), (w * s.vary(0.93, 1.0), h * 0.6), (w * s.vary(0.96, 1.06), h)]  # fmt: skip
    front = smooth([(neck, 0), (neck * 0.72, dip * 0.75), (0, dip)], closed=False)
    s.part(ellipse(0, 0.03, neck * 0.98, 0.05), "inside", "flat")
    s.part(mirrored(np.vstack([front[::-1], half])), "main", "sheet", 0.7)
    collar = np.vstack([front, front[::-1][1:] * (-1, 1)])
    s.part(tube(collar, 0.055), s.choose("base", "second", "base"), "flat")
    for side in (-1, 1):
        s.line([(side * w, 0.42), (side * w * 0.93, 0.1)], 0.014)
        s.line([(side * (w + sleeve * 0.95), drop - 0.02), (side * (w + sleeve * 0.68), drop + 0.19)], 0.012)
        s.line(
            smooth([(side * w * 0.9, 0.48), (side * w * 0.6, 0.62), (side * w * 0.5, 0.85)], closed=False), 0.03, -0.12
        )
    s.line([(-w, h - 0.05), (w, h - 0.05)], 0.012)


def dress(s: Sketch) -> None:
    """Fitted top, waist, flared skirt; straps or short sleeves."""
    bust, waist, hem = s.vary(0.27, 0.33), s.vary(0.2, 0.25), s.vary(0.45, 0.75)
    cut, h, dip = s.vary(0.62, 0.75), s.vary(1.6, 2.05), s.vary(0.1, 0.24)
    if s.chance(0.5):
        for side in (-1, 1):
            s.part(tube([(side * 0.15, 0.0), (side * 0.2, 0.3)], 0.07), "base", "flat")
        top = [(0, 0.28 + dip * 0.4), (0.18, 0.2), (bust, 0.3)]
    else:
        s.part(ellipse(0, 0.03, 0.15, 0.04), "inside", "flat")
        cap = s.vary(0.12, 0.24)
        top = [
            (0, dip),
            (0.1, dip * 0.7),
            (0.15, 0),
            (bust, 0.06),
            (bust + cap, 0.3),
            (bust + cap * 0.6, 0.4),
            (bust, 0.3),
        ]
    flank = smooth([(bust, 0.32), (waist, cut), (waist * 0.5 + hem * 0.5, (cut + h) / 2), (hem, h)], closed=False)
    wave = np.column_stack([np.linspace(hem, 0, 24), h + 0.035 * np.cos(np.linspace(0, s.vary(9, 16), 24))])
    s.part(mirrored(np.vstack([top, flank, wave])), "main", "sheet", 0.9)
    for x in np.linspace(-0.75, 0.75, 6):
        s.line([(x * waist, cut + 0.06), (x * hem, h * 0.97)], 0.022, -0.16 if x < 0 else 0.10)
    if s.chance(0.5):
        belt = s.choose("second", "dark", "base")
        s.part(box(-waist * 1.06, cut - 0.045, waist * 1.06, cut + 0.045, 0.02), belt, "turned")
    else:
        s.line([(-waist, cut), (waist, cut)], 0.014)


def trousers(s: Sketch) -> None:
    """Laid-out trousers: waistband, two legs, pockets, crease."""
    w, hip, h = s.vary(0.34, 0.4), s.vary(0.44, 0.5), s.vary(1.7, 2.0)
    hem, gap, rise = s.vary(0.17, 0.3), s.vary(0.04, 0.14), s.vary(0.5, 0.62)
    centre = gap + hem
    half = smooth([(w, 0), (hip, rise * 0.6), (centre + hem * 0.85, h * 0.6), (centre + hem, h)], closed=False)
    inner = smooth([(centre - hem, h), (gap * 0.8 + 0.02, h * 0.6), (0, rise)], closed=False)
    s.part(mirrored(np.vstack([[(0, 0)], half, inner])), "main", "sheet", 0.8)
    s.part(box(-w * 1.02, -0.02, w * 1.02, 0.09, 0.015), "base", "sheet")
    s.line([(0, 0.09), (0, rise)], 0.014)
    for side in (-1, 1):
        s.line(smooth([(side * w * 0.55, 0.09), (side * w * 0.8, 0.26), (side * hip * 0.97, 0.3)], closed=False), 0.014)
        s.line([(side * centre * 0.9, rise * 0.9), (side * centre, h * 0.98)], 0.016, 0.12)
        s.line([(side * (centre - hem), h - 0.06), (side * (centre + hem), h - 0.06)], 0.010)
    s.part(ellipse(0, 0.035, 0.025, 0.025), "metal", "puff")


def sneaker(s: Sketch) -> None:
    """Sports shoe from the side: sole, upper, toe cap, laces, heel patch."""
    high, sole = s.vary(0.66, 1.0), s.vary(0.15, 0.24)
    s.part(smooth([(0.36, -high), (0.62, -high * 0.98), (0.72, -high * 0.62), (0.44, -high * 0.6)]), "second", "puff")
    upper = smooth(
        [(-0.98, -0.02), (-0.95, -0.2), (-0.6, -0.36), (-0.1, -0.5), (0.12, -high * 0.92), (0.34, -high),
         (0.42, -high * 0.82), (0.72, -high * 0.8), (0.86, -high * 0.96), (0.94, -high * 0.5), (0.95, -0.02)], steps=8
    )  # fmt: skip
    s.part(upper, "main", "puff", 0.6)
    if s.chance(0.6):
        toe = smooth([(-0.99, 0.0), (-0.96, -0.2), (-0.74, -0.3), (-0.6, -0.16), (-0.56, 0.0)])
        s.part(toe, s.choose("light", "second"), "puff", 0.6)
    if s.chance(0.5):
        s.part(smooth([(0.95, -0.02), (0.94, -high * 0.6), (0.78, -high * 0.55), (0.74, -0.02)]), "second", "puff", 0.4)
    rubber = s.choose("light", "light", "dark", "gum")
    heel = s.vary(0.0, 0.06)
    sole_edge = [(-1.02, -0.03), (-0.3, -0.05), (0.98, -0.06 - heel), (1.0, sole * 0.8), (0.5, sole), (-0.6, sole),
                 (-1.0, sole * 0.7)]  # fmt: skip
    s.part(smooth(sole_edge), rubber, "puff", 0.3)
    s.line([(-0.98, sole * 0.45), (0.98, sole * 0.45)], 0.016, -0.25)
    for step in np.linspace(0, 1, 4):
        x, y = -0.42 + 0.62 * step, -0.42 - (high * 0.86 - 0.42) * step
        s.line([(x - 0.05, y - 0.02), (x + 0.13, y + 0.13)], 0.04, paint="light")


def boot(s: Sketch) -> None:
    """Rain boot from the side: shaft, foot, sole with heel, band at the top."""
    h, shaft, bend = s.vary(1.05, 1.5), s.vary(0.24, 0.3), s.vary(0.3, 0.4)
    toe = s.vary(0.72, 0.85)
    s.part(ellipse(0, -h, shaft, 0.07), "inside", "flat")
    outline = [(-shaft, -h), (-shaft * 0.9, -h * 0.5), (-shaft * 1.02, -0.15), (-shaft * 0.95, 0.02), (toe * 0.6, 0.02),
               (toe, 0.0), (toe * 1.02, -0.16), (toe * 0.72, -0.28), (shaft + 0.06, -bend), (shaft * 0.86, -h * 0.55),
               (shaft, -h), (0, -h + 0.055)]  # fmt: skip
    s.part(smooth(outline, steps=8), "main", "puff", 0.8, 1.3)
    sole = [(-shaft * 1.06, -0.03), (toe * 1.06, -0.04), (toe * 1.05, 0.08), (0.16, 0.08), (0.1, 0.16),
            (-shaft * 1.02, 0.17)]  # fmt: skip
    s.part(smooth(sole, steps=6), s.choose("dark", "gum", "light"), "puff", 0.3)
    band = smooth([(-shaft * 1.02, -h + 0.03), (0, -h + 0.1), (shaft * 1.02, -h + 0.03)], closed=False)
    s.part(tube(band, 0.09), s.choose("base", "second", "dark"), "flat")
    if s.chance(0.4):
        s.part(box(shaft * 0.55, -h * 0.86, shaft * 1.15, -h * 0.8, 0.02), "dark", "flat")


def cap(s: Sketch) -> None:
    """Visor cap, three-quarter view: dome of panels, peak, button."""
    h, peak = s.vary(0.55, 0.7), s.vary(0.42, 0.6)
    dome = smooth(
        [
            (-0.6, 0.0),
            (-0.6, -0.25),
            (-0.42, -h * 0.85),
            (0.0, -h),
            (0.38, -h * 0.85),
            (0.58, -0.28),
            (0.6, 0.0),
            (0.0, 0.07),
        ]
    )
    s.part(dome, "main", "puff", 1.0)
    for x in (-0.3, 0.08, 0.4):
        s.line(smooth([(0.02, -h), (x * 1.02, -h * 0.6), (x * 1.2, 0.02)], closed=False), 0.012)
    s.part(ellipse(0.0, -h, 0.05, 0.03), "base", "puff")
    visor = smooth(
        [
            (-0.6, 0.0),
            (-0.1, 0.03),
            (0.3, -0.06),
            (0.42 + peak * 0.6, 0.06),
            (0.4 + peak, 0.22),
            (0.1, 0.2),
            (-0.55, 0.12),
        ]
    )
    s.part(shifted(visor, 0, 0.0), s.choose("main", "second", "base"), "puff", 0.5)
    for offset in (0.03, 0.06):
        s.line(
            smooth([(-0.5, 0.10 - offset / 2), (0.1, 0.19 - offset), (0.36 + peak, 0.2 - offset)], closed=False), 0.007
        )
