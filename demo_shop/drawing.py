"""Draws a demo product as a cut-out: shape, colours, pattern, material, light and view."""

import colorsys

import numpy as np
from PIL import Image

from demo_shop.canvas import SUPERSAMPLE, Canvas
from demo_shop.patterns import PatternStyle, draw_pattern_sheet
from demo_shop.shading import Light
from demo_shop.shapes import SHAPE_BUILDERS
from demo_shop.sketch import Sketch
from demo_shop.vocabulary import COLOURS, MATERIALS, Material, Rgb
from demo_shop.world import DemoProduct

WIDTH_FACTORS = {"watch": 0.55, "lamp": 0.85, "umbrella": 0.9, "guitar": 0.8, "dress": 0.8, "trousers": 0.75}
"""Narrow types and the factor on the period of their pattern."""

LAID_FLAT_TYPES = frozenset({"t-shirt", "dress", "trousers", "watch", "guitar", "cushion", "ball"})
"""Types that are photographed from above, so that a photo may show them turned by up to 40 degrees."""

FIXED_PAINTS: dict[str, Rgb] = {
    "wood": (168, 116, 68), "darkwood": (70, 44, 30), "metal": (186, 188, 194), "gold": (206, 166, 84),
    "dark": (48, 48, 54), "light": (238, 236, 230), "gum": (176, 126, 72), "leather": (112, 72, 46),
    "glow": (255, 243, 208), "hole": (30, 24, 22),
}  # fmt: skip


def draw_product(product: DemoProduct, rng: np.random.Generator, size: int) -> Image.Image:
    """Return one view of a product as an RGBA cut-out, tight around the product.

    Args:
        product: the product to draw; shape, colours and pattern depend only on it.
        rng: decides the view: light, rotation and mirroring.
        size: longest side of the product before rotation in pixels, at least 16.

    Raises:
        ValueError: ``size`` is under 16.
    """
    if size < 16:
        raise ValueError(f"a cut-out needs at least 16 pixels, not {size}")
    looks = np.random.default_rng(product.looks)
    sketch = Sketch(looks)
    SHAPE_BUILDERS[product.type](sketch)
    paints = _build_palette(product, looks)
    material = MATERIALS[product.material]
    materials = {
        "main": material, "base": Material(material.gloss, material.sharpness),
        "metal": MATERIALS["metal"], "gold": MATERIALS["metal"], "other": Material(0.12, 8),
    }  # fmt: skip
    canvas = Canvas(sketch, size, paints, materials, Light.draw(rng))
    period = looks.uniform(0.105, 0.17) * WIDTH_FACTORS.get(product.type, 1.0) * size * SUPERSAMPLE
    angle = float(looks.choice((0, 90, 45, 20))) if product.pattern == "striped" else looks.uniform(-12, 12)
    style = PatternStyle(paints["base"], paints["second"], paints["accent"], period, angle, looks)
    sheet = draw_pattern_sheet(product.pattern, style, *canvas.size)
    picture = canvas.paint(sketch, sheet, _draw_folds(looks))
    return _pose(picture, product.type, rng)


def _build_palette(product: DemoProduct, looks: np.random.Generator) -> dict[str, Rgb]:
    """Return the RGB of every paint key for this product, in its own shades."""
    base = _vary_shade(COLOURS[product.colour].rgb, looks)
    if product.pattern == "plain":
        second = _scale_brightness(base, 0.72) if sum(base) > 150 else (78, 78, 84)
    else:
        second = _vary_shade(COLOURS[product.second_colour].rgb, looks)
    inside = (236, 232, 224) if looks.random() < 0.3 else _scale_brightness(base, 0.5)
    accent = (250, 200, 60) if product.second_colour != "yellow" and product.colour != "yellow" else (150, 80, 40)
    return {**FIXED_PAINTS, "base": base, "second": second, "inside": inside, "accent": accent}


def _vary_shade(rgb: Rgb, looks: np.random.Generator) -> Rgb:
    """Return the colour slightly changed in hue, saturation and value, so that no two reds are the same."""
    h, s, v = colorsys.rgb_to_hsv(*(c / 255 for c in rgb))
    h = (h + looks.uniform(-0.012, 0.012)) % 1
    s = min(s * looks.uniform(0.9, 1.1), 1.0)
    r, g, b = colorsys.hsv_to_rgb(h, s, min(v * looks.uniform(0.92, 1.06), 1.0))
    return round(r * 255), round(g * 255), round(b * 255)


def _scale_brightness(rgb: Rgb, factor: float) -> Rgb:
    r, g, b = (min(round(c * factor), 255) for c in rgb)
    return r, g, b


def _draw_folds(looks: np.random.Generator) -> np.ndarray:
    """Return a smooth height map of creases, float32 [64, 64] of about -1..1."""
    coarse = looks.normal(size=(7, 7)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC)) * 0.5


def _pose(picture: Image.Image, kind: str, rng: np.random.Generator) -> Image.Image:
    """Return the picture rotated, mirrored at random, scaled down from the supersampled size, and cropped tightly."""
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    far = kind in LAID_FLAT_TYPES and rng.random() < 0.3
    turn = float(rng.uniform(-40, 40) if far else rng.normal(0, 4))
    if abs(turn) > 1.0:
        picture = picture.rotate(turn, Image.Resampling.BILINEAR, expand=True)
    picture = picture.reduce(SUPERSAMPLE)
    return picture.crop(picture.getchannel("A").point(lambda a: 255 * (a > 24)).getbbox())
