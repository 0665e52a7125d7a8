"""Held-out photos for measuring, made in another way than the training photos.

Other products (eshop's even ids, a third of grocery's iconic photos), other grounds (held-out clothing photos,
grocery's ``val``) and another paste: multi-band blending (Burt and Adelson, 1983), which joins the two photos
band by band instead of along one edge.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from moon_model.detection.region import Box
from moon_model.images import decode_image
from recipes.detector.backgrounds import Backgrounds
from recipes.detector.cutouts import load_eshop_cutouts, load_iconic_cutouts

SCENE_SIZES = ((288, 288), (264, 352), (352, 264), (224, 360))
BANDS = 3


@dataclass(frozen=True)
class MeasuredScene:
    """One photo with the box of its core product, and how it was made."""

    photo: Image.Image
    box: Box
    ground: str


def compose_measured_scenes(data: Path, count: int, seed: int) -> list[MeasuredScene]:
    """Compose ``count`` scenes from the folder of real data; the same seed gives the same scenes.

    Raises:
        FileNotFoundError: when the data is not there.
    """
    products = load_eshop_cutouts(data / "eshop", even=True) + load_iconic_cutouts(data / "grocery", held_out=True)
    grounds = Backgrounds.find(data, held_out=True)
    rng = Random(seed)  # noqa: S311 (not for secrets)
    made = []
    for index in range(count):
        kind = ("clothing", "shelves")[index % 2]
        photos = grounds.clothing if kind == "clothing" else grounds.shelves
        made.append(_scene(products, rng.choice(photos), kind, rng))
    return made


def _scene(products: list[Image.Image], path: Path, kind: str, rng: Random) -> MeasuredScene:
    size = rng.choice(SCENE_SIZES)
    ground = _cover(decode_image(path), size)
    if rng.random() < 0.4:  # a smaller product lies beside or behind
        ground, _ = _blend(ground, rng.choice(products), rng.uniform(0.01, 0.04), 1.0, rng)
    photo, box = _blend(ground, rng.choice(products), rng.uniform(0.08, 0.6), 0.5, rng)
    return MeasuredScene(photo, box, kind)


def _cover(photo: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The whole photo, cropped only where its aspect ratio differs."""
    scale = max(size[0] / photo.width, size[1] / photo.height)
    width, height = size[0] / scale, size[1] / scale
    left, top = (photo.width - width) / 2, (photo.height - height) / 2
    return photo.resize(size, Image.Resampling.LANCZOS, box=(left, top, left + width, top + height))


def _blend(
    ground: Image.Image, product: Image.Image, area: float, spread: float, rng: Random
) -> tuple[Image.Image, Box]:
    """Join a product into a ground; its box covers ``area`` of it, its place is uniform within ``spread``."""
    scale = (area * ground.width * ground.height / (product.width * product.height)) ** 0.5
    scale = min(scale, 0.96 * ground.width / product.width, 0.96 * ground.height / product.height)
    size = max(8, int(product.width * scale)), max(8, int(product.height * scale))
    product = product.resize(size, Image.Resampling.LANCZOS)
    left, top = (
        int((room / 2) + rng.uniform(-0.5, 0.5) * spread * room)
        for room in (ground.width - size[0], ground.height - size[1])
    )
    layer = ground.copy()
    layer.paste(product.convert("RGB"), (left, top), product.getchannel("A"))
    mask = Image.new("L", ground.size)
    mask.paste(product.getchannel("A"), (left, top))
    joined = blend_multi_band(np.asarray(ground, np.float32), np.asarray(layer, np.float32), np.asarray(mask) / 255.0)
    x0, y0, x1, y1 = mask.point(lambda value: 255 if value > 127 else 0).getbbox() or (0, 0, *ground.size)
    box = (x0 / ground.width, y0 / ground.height, x1 / ground.width, y1 / ground.height)
    return Image.fromarray(joined.clip(0, 255).astype(np.uint8)), box


def blend_multi_band(
    back: NDArray[np.float32], front: NDArray[np.float32], mask: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Blend ``front`` over ``back`` (both [H, W, 3]) with a mask [H, W] that is softer in coarser bands."""
    joined = np.zeros_like(back)
    weight = mask[..., None]
    for band, (of_front, of_back) in enumerate(zip(_bands(front), _bands(back), strict=True)):
        if band:
            weight = ndimage.gaussian_filter(mask, 0.6 * 2.0**band)[..., None]
        joined += (weight * of_front + (1 - weight) * of_back).astype(np.float32)
    return joined


def _bands(photo: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Details from fine to coarse, then what is coarser than all; they add up to the photo."""
    levels = [photo]
    for band in range(BANDS):
        sigma = 2.0**band
        levels.append(ndimage.gaussian_filter(photo, (sigma, sigma, 0), truncate=3.0))
    details = [fine - coarse for fine, coarse in pairwise(levels)]
    return [*details, levels[-1]]
