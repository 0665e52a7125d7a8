"""Held-out composites for evaluation, made by another method than the training photos.

They have other products (eshop's even ids, a third of grocery's iconic photos), other backgrounds (held-out clothing
photos, grocery's ``val``) and another way of pasting: multi-band blending (Burt and Adelson, 1983), which blends each
frequency band with its own mask instead of along one edge.
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
    """A photo with the box of its core product; ``background`` is the kind of its background."""

    photo: Image.Image
    box: Box
    background: str


def compose_measured_scenes(data: Path, count: int, seed: int) -> list[MeasuredScene]:
    """Return ``count`` scenes composed from the folder of real data; they depend only on the seed.

    Raises:
        FileNotFoundError: the data is missing.
    """
    products = load_eshop_cutouts(data / "eshop", even=True) + load_iconic_cutouts(data / "grocery", held_out=True)
    backgrounds = Backgrounds.find(data, held_out=True)
    rng = Random(seed)  # noqa: S311 (not for secrets)
    scenes = []
    for index in range(count):
        kind, photos = (("clothing", backgrounds.clothing), ("shelves", backgrounds.shelves))[index % 2]
        scenes.append(_compose_scene(products, rng.choice(photos), kind, rng))
    return scenes


def _compose_scene(products: list[Image.Image], path: Path, kind: str, rng: Random) -> MeasuredScene:
    size = rng.choice(SCENE_SIZES)
    background = _cover(decode_image(path), size)
    if rng.random() < 0.4:  # a smaller product next to or behind it
        background, _ = _blend(background, rng.choice(products), rng.uniform(0.01, 0.04), 1.0, rng)
    photo, box = _blend(background, rng.choice(products), rng.uniform(0.08, 0.6), 0.5, rng)
    return MeasuredScene(photo, box, kind)


def _cover(photo: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return a photo scaled to a size and cropped where its aspect ratio differs."""
    scale = max(size[0] / photo.width, size[1] / photo.height)
    width, height = size[0] / scale, size[1] / scale
    left, top = (photo.width - width) / 2, (photo.height - height) / 2
    return photo.resize(size, Image.Resampling.LANCZOS, box=(left, top, left + width, top + height))


def _blend(
    background: Image.Image, product: Image.Image, area: float, spread: float, rng: Random
) -> tuple[Image.Image, Box]:
    """Return a background with a product, and the product's box.

    Args:
        background: RGB.
        product: RGBA.
        area: area of the box as a share of the background.
        spread: range of the product's position as a share of the free space, around the middle.
        rng: draws the position.
    """
    scale = (area * background.width * background.height / (product.width * product.height)) ** 0.5
    scale = min(scale, 0.96 * background.width / product.width, 0.96 * background.height / product.height)
    size = max(8, int(product.width * scale)), max(8, int(product.height * scale))
    product = product.resize(size, Image.Resampling.LANCZOS)
    rooms = (background.width - size[0], background.height - size[1])
    left, top = (int((room / 2) + rng.uniform(-0.5, 0.5) * spread * room) for room in rooms)
    layer = background.copy()
    layer.paste(product.convert("RGB"), (left, top), product.getchannel("A"))
    mask = Image.new("L", background.size)
    mask.paste(product.getchannel("A"), (left, top))
    back, front = (np.asarray(photo, np.float32) for photo in (background, layer))
    blended = blend_multi_band(back, front, np.asarray(mask) / 255.0)
    x0, y0, x1, y1 = mask.point(lambda value: 255 if value > 127 else 0).getbbox() or (0, 0, *background.size)
    box = (x0 / background.width, y0 / background.height, x1 / background.width, y1 / background.height)
    return Image.fromarray(blended.clip(0, 255).astype(np.uint8)), box


def blend_multi_band(
    back: NDArray[np.float32], front: NDArray[np.float32], mask: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return ``front`` over ``back`` (both [H, W, 3]), blended with a mask [H, W] that is softer in coarser bands."""
    blended = np.zeros_like(back)
    weight = mask[..., None]
    for band, (front_band, back_band) in enumerate(zip(_split_bands(front), _split_bands(back), strict=True)):
        if band:
            weight = ndimage.gaussian_filter(mask, 0.6 * 2.0**band)[..., None]
        blended += (weight * front_band + (1 - weight) * back_band).astype(np.float32)
    return blended


def _split_bands(photo: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Return frequency bands from fine to coarse and the remaining low frequencies; their sum is the photo."""
    levels = [photo]
    for band in range(BANDS):
        levels.append(ndimage.gaussian_filter(photo, 2.0**band, axes=(0, 1), truncate=3.0))
    return [*(fine - coarse for fine, coarse in pairwise(levels)), levels[-1]]
