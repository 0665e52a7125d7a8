"""Training photos: products pasted onto grounds in so many ways that no trace of pasting tells where.

The label is the *core product*: the largest, not hidden by others, usually near the middle. Smaller products
beside it are labelled too, with half its dominance, so that the network proposes them but ranks them second.
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
    """A box (shares of width and height) and how much its product dominates the photo, in [0, 1]."""

    box: Box
    dominance: float


def paste_scene(
    background: Image.Image, cutouts: Sequence[Image.Image], rng: Random
) -> tuple[Image.Image, list[LabelledBox]]:
    """Compose one training photo.

    Args:
        background: RGB, changed in place.
        cutouts: RGBA products to choose from.
        rng: source of chance.

    Returns:
        The photo, and its labels with the core product first.
    """
    core_area = min(0.9, max(0.05, rng.lognormvariate(-1.35, 0.7)))
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        _paste_decoy(background, rng)
    labels = []
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 3))):
        small = core_area * rng.uniform(0.05, 0.4)
        box = _paste_product(background, rng.choice(cutouts), small, _anywhere(rng), rng)
        labels += [LabelledBox(box, SIDE_DOMINANCE)] if box else []
    core = None
    while core is None:
        core = _paste_product(background, rng.choice(cutouts), core_area, _near_middle(core_area, rng), rng)
    labels.insert(0, LabelledBox(core, CORE_DOMINANCE))
    if rng.random() < 0.1:  # something smaller lies in front of it
        small = core_area * rng.uniform(0.04, 0.15)
        box = _paste_product(background, rng.choice(cutouts), small, _anywhere(rng), rng)
        labels += [LabelledBox(box, SIDE_DOMINANCE)] if box else []
    return background, labels


def degrade_photo(photo: Image.Image, rng: Random) -> Image.Image:
    """What a camera and a web shop do to a photo, alike to product and ground: light, blur, noise, JPEG."""
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


def _near_middle(area: float, rng: Random) -> tuple[float, float]:
    spread = 0.22 * (1 - area)
    return 0.5 + rng.gauss(0, spread), 0.5 + rng.gauss(0, spread)


def _anywhere(rng: Random) -> tuple[float, float]:
    return rng.uniform(0, 1), rng.uniform(0, 1)


def _paste_product(
    ground: Image.Image, cutout: Image.Image, area: float, centre: tuple[float, float], rng: Random
) -> Box | None:
    """Paste one product; its visible box, or None when too little of it came to lie inside the photo."""
    product = _vary(cutout, area, ground, rng)
    left = int(centre[0] * ground.width - product.width / 2)
    top = int(centre[1] * ground.height - product.height / 2)
    if rng.random() < 0.85:  # mostly whole; the rest may be cut by the border
        left = min(max(left, 0), max(0, ground.width - product.width))
        top = min(max(top, 0), max(0, ground.height - product.height))
    layer = Image.new("L", ground.size)
    alpha = _feather(product.getchannel("A"), rng)
    layer.paste(alpha, (left, top))
    visible = layer.point(lambda value: 255 if value > 100 else 0).getbbox()
    if visible is None or _share(visible, product.size) < 0.5:
        return None
    if rng.random() < 0.55:
        _shade(ground, layer, rng)
    ground.paste(product.convert("RGB"), (left, top), alpha)
    x0, y0, x1, y1 = visible
    return x0 / ground.width, y0 / ground.height, x1 / ground.width, y1 / ground.height


def _share(box: tuple[int, int, int, int], size: tuple[int, int]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1]) / (size[0] * size[1])


def _vary(cutout: Image.Image, area: float, ground: Image.Image, rng: Random) -> Image.Image:
    """Mirror, turn, stretch, tint and scale a product until its box covers ``area`` of the ground."""
    product = cutout
    if rng.random() < 0.5:
        product = product.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    angle = rng.gauss(0, 10) if rng.random() < 0.75 else rng.uniform(0, 360)
    product = product.rotate(angle, Image.Resampling.BILINEAR, expand=True)
    product = product.crop(product.getchannel("A").getbbox())
    width = product.width * rng.uniform(0.75, 1.33)
    scale = (area * ground.width * ground.height / (width * product.height)) ** 0.5
    scale = min(scale, 1.15 * ground.width / width, 1.15 * ground.height / product.height)
    size = max(4, int(width * scale)), max(4, int(product.height * scale))
    return _tint(product.resize(size, Image.Resampling.BILINEAR), rng)


def _tint(product: Image.Image, rng: Random) -> Image.Image:
    """Another colour and another light on the same product."""
    alpha, colour = product.getchannel("A"), product.convert("RGB")
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


def _feather(alpha: Image.Image, rng: Random) -> Image.Image:
    """A hard edge, a soft one, one eroded or one with a rim of the old ground."""
    alpha = alpha.filter(ImageFilter.GaussianBlur(rng.choice((0.0, 0.4, 0.8, 1.3, 2.0))))
    gain, offset = rng.uniform(1.0, 3.0), rng.uniform(-60, 60)
    return alpha.point(lambda value: int(min(max((value - 128) * gain + 128 + offset * (value > 0), 0), 255)))


def _shade(ground: Image.Image, alpha: Image.Image, rng: Random) -> None:
    """A soft shadow of the product, shifted and blurred."""
    shift = int(rng.gauss(0, 0.04) * ground.width), int(abs(rng.gauss(0, 0.04)) * ground.height)
    shadow = Image.new("L", ground.size)
    shadow.paste(alpha, shift)
    strength = rng.uniform(0.15, 0.75)
    shadow = shadow.filter(ImageFilter.GaussianBlur(rng.uniform(1, 9))).point(lambda v: int(v * strength))
    ground.paste((rng.randint(0, 40),) * 3, (0, 0), shadow)


def _paste_decoy(ground: Image.Image, rng: Random) -> None:
    """A patch of the ground itself, pasted elsewhere with the same kinds of edges: pasted, but no product."""
    width, height = (max(6, int(side * rng.uniform(0.08, 0.35))) for side in ground.size)
    left, top = rng.randint(0, ground.width - width), rng.randint(0, ground.height - height)
    patch = ground.crop((left, top, left + width, top + height))
    if rng.random() < 0.5:
        patch = ImageEnhance.Brightness(patch).enhance(rng.uniform(0.75, 1.3))
    alpha = _feather(_blob(patch.size, rng), rng)
    ground.paste(patch, (rng.randint(0, ground.width - width), rng.randint(0, ground.height - height)), alpha)


def _blob(size: tuple[int, int], rng: Random) -> Image.Image:
    """An irregular mask that touches no side for long."""
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, 1, (5, 5)).astype(np.float32)
    smooth = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    y, x = np.mgrid[-1 : 1 : size[1] * 1j, -1 : 1 : size[0] * 1j]
    level: NDArray[np.float64] = np.asarray(smooth) * 0.3 + 0.8 - x * x - y * y
    return Image.fromarray((level > 0).astype(np.uint8) * 255)
