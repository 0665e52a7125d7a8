"""Composes training photos: products pasted onto backgrounds in many ways, so that edges do not reveal the product.

The first label is the *core product*: the largest one, not covered by others, usually near the middle. Smaller products
next to it have labels with half its dominance, so that the network proposes them but ranks them lower.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageEnhance, ImageFilter

from moon_model.detection.region import Box

CORE_DOMINANCE = 1.0
SIDE_DOMINANCE = 0.5


@dataclass(frozen=True)
class LabelledBox:
    """A box in shares of width and height, and the dominance of its product in the photo, from 0 to 1."""

    box: Box
    dominance: float


def paste_scene(
    background: Image.Image, cutouts: Sequence[Image.Image], rng: Random
) -> tuple[Image.Image, list[LabelledBox]]:
    """Return one training photo and its labels, the core product first.

    Args:
        background: RGB, changed in place.
        cutouts: RGBA products to choose from.
        rng: random generator.
    """

    def paste_smaller(low: float, high: float) -> Box | None:
        area = core_area * rng.uniform(low, high)
        return _paste_product(background, rng.choice(cutouts), area, (rng.uniform(0, 1), rng.uniform(0, 1)), rng)

    core_area = min(0.9, max(0.05, rng.lognormvariate(-1.35, 0.7)))
    # 1. Pasted patches that are not products.
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        _paste_decoy(background, rng)
    # 2. Smaller products behind the core product.
    behind = [paste_smaller(0.05, 0.4) for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 3)))]
    # 3. The core product; a try may end outside the photo.
    core = None
    while core is None:
        core = _paste_product(background, rng.choice(cutouts), core_area, _draw_central_position(core_area, rng), rng)
    # 4. Rarely a smaller product in front of it.
    front = [paste_smaller(0.04, 0.15)] if rng.random() < 0.1 else []
    others = [LabelledBox(box, SIDE_DOMINANCE) for box in (*behind, *front) if box]
    return background, [LabelledBox(core, CORE_DOMINANCE), *others]


def degrade_photo(photo: Image.Image, rng: Random) -> Image.Image:
    """Return a photo with the defects of camera and web shop: light, contrast, blur, noise, JPEG."""
    photo = ImageEnhance.Brightness(photo).enhance(rng.uniform(0.7, 1.25))
    photo = ImageEnhance.Contrast(photo).enhance(rng.uniform(0.75, 1.25))
    photo = ImageEnhance.Color(photo).enhance(rng.uniform(0.6, 1.4))
    if rng.random() < 0.35:
        photo = photo.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.6)))
    if rng.random() < 0.4:
        pixels = np.asarray(photo, np.float32)
        noise = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(2, 12), pixels.shape)
        photo = Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))
    if rng.random() < 0.7:
        buffer = io.BytesIO()
        photo.save(buffer, "JPEG", quality=rng.randint(30, 92))
        photo = Image.open(buffer).convert("RGB")
    return photo


def _draw_central_position(area: float, rng: Random) -> tuple[float, float]:
    spread = 0.22 * (1 - area)
    return 0.5 + rng.gauss(0, spread), 0.5 + rng.gauss(0, spread)


def _paste_product(
    background: Image.Image, cutout: Image.Image, area: float, centre: tuple[float, float], rng: Random
) -> Box | None:
    """Paste a product and return its visible box; None (and nothing pasted) if less than half is inside the photo."""
    product = _vary(cutout, area, background, rng)
    left = int(centre[0] * background.width - product.width / 2)
    top = int(centre[1] * background.height - product.height / 2)
    if rng.random() < 0.85:  # mostly whole; the rest may be cut by the border
        left = min(max(left, 0), max(0, background.width - product.width))
        top = min(max(top, 0), max(0, background.height - product.height))
    layer = Image.new("L", background.size)
    alpha = _soften_edge(product.getchannel("A"), rng)
    layer.paste(alpha, (left, top))
    visible = layer.point(lambda value: 255 if value > 100 else 0).getbbox()
    if visible is None or _compute_share(visible, product.size) < 0.5:
        return None
    if rng.random() < 0.55:
        _paste_shadow(background, layer, rng)
    background.paste(product.convert("RGB"), (left, top), alpha)
    x0, y0, x1, y1 = visible
    return x0 / background.width, y0 / background.height, x1 / background.width, y1 / background.height


def _compute_share(box: tuple[int, int, int, int], size: tuple[int, int]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1]) / (size[0] * size[1])


def _vary(cutout: Image.Image, area: float, background: Image.Image, rng: Random) -> Image.Image:
    """Return a product mirrored, rotated, stretched and tinted at random; its box has ``area`` of the background."""
    product = cutout
    if rng.random() < 0.5:
        product = product.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    angle = rng.gauss(0, 10) if rng.random() < 0.75 else rng.uniform(0, 360)
    product = product.rotate(angle, Image.Resampling.BILINEAR, expand=True)
    product = product.crop(product.getchannel("A").getbbox())
    width = product.width * rng.uniform(0.75, 1.33)
    scale = (area * background.width * background.height / (width * product.height)) ** 0.5
    scale = min(scale, 1.15 * background.width / width, 1.15 * background.height / product.height)
    size = max(4, int(width * scale)), max(4, int(product.height * scale))
    return _tint(product.resize(size, Image.Resampling.BILINEAR), rng)


def _tint(product: Image.Image, rng: Random) -> Image.Image:
    """Return a product in another colour and light."""
    alpha = product.getchannel("A")
    colour = product.convert("RGB")
    if rng.random() < 0.5:
        hue, saturation, value = colour.convert("HSV").split()
        turn = rng.randrange(256)
        hue = hue.point(lambda degree: (degree + turn) % 256)
        colour = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
    if rng.random() < 0.15:
        colour = ImageChops.invert(colour)
    if rng.random() < 0.25:  # a faded or a white product
        colour = Image.blend(colour, Image.new("RGB", colour.size, "white"), rng.uniform(0.2, 0.55))
    colour = ImageEnhance.Brightness(colour).enhance(rng.uniform(0.6, 1.4))
    colour = ImageEnhance.Contrast(colour).enhance(rng.uniform(0.7, 1.3))
    colour.putalpha(alpha)
    return colour


def _soften_edge(alpha: Image.Image, rng: Random) -> Image.Image:
    """Return an alpha channel with a hard, soft, eroded or dilated edge."""
    alpha = alpha.filter(ImageFilter.GaussianBlur(rng.choice((0.0, 0.4, 0.8, 1.3, 2.0))))
    gain = rng.uniform(1.0, 3.0)
    offset = rng.uniform(-60, 60)
    return alpha.point(lambda value: int(min(max((value - 128) * gain + 128 + offset * (value > 0), 0), 255)))


def _paste_shadow(background: Image.Image, alpha: Image.Image, rng: Random) -> None:
    """Paste a shifted and blurred shadow of a product."""
    shift = int(rng.gauss(0, 0.04) * background.width), int(abs(rng.gauss(0, 0.04)) * background.height)
    shadow = Image.new("L", background.size)
    shadow.paste(alpha, shift)
    strength = rng.uniform(0.15, 0.75)
    shadow = shadow.filter(ImageFilter.GaussianBlur(rng.uniform(1, 9))).point(lambda v: int(v * strength))
    background.paste((rng.randint(0, 40),) * 3, (0, 0), shadow)


def _paste_decoy(background: Image.Image, rng: Random) -> None:
    """Paste a patch of the background elsewhere with the same kinds of edges: pasted, but not a product."""
    width, height = (max(6, int(side * rng.uniform(0.08, 0.35))) for side in background.size)
    left = rng.randint(0, background.width - width)
    top = rng.randint(0, background.height - height)
    patch = background.crop((left, top, left + width, top + height))
    if rng.random() < 0.5:
        patch = ImageEnhance.Brightness(patch).enhance(rng.uniform(0.75, 1.3))
    alpha = _soften_edge(_draw_blob(patch.size, rng), rng)
    corner = (rng.randint(0, background.width - width), rng.randint(0, background.height - height))
    background.paste(patch, corner, alpha)


def _draw_blob(size: tuple[int, int], rng: Random) -> Image.Image:
    """Return an irregular mask that hardly touches the border."""
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, 1, (5, 5)).astype(np.float32)
    smooth = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    y, x = np.mgrid[-1 : 1 : size[1] * 1j, -1 : 1 : size[0] * 1j]
    level: NDArray[np.float64] = np.asarray(smooth) * 0.3 + 0.8 - x * x - y * y
    return Image.fromarray((level > 0).astype(np.uint8) * 255)
