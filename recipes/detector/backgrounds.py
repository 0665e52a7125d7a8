"""Backgrounds for composites: crops of real photos, and plain studio backgrounds."""

import zlib
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, ImageFilter
from scipy import ndimage

from moon_model.images import decode_image

ImageSize = tuple[int, int]
HELD_OUT_CLOTHING = 5
"""One in this number of clothing photos, by checksum of the name, is for evaluation only."""


@dataclass(frozen=True)
class Backgrounds:
    """Real photos that serve as backgrounds.

    Attributes:
        clothing: photos of one dominant garment each, worn or laid out.
        shelves: photos of groceries in shops.
    """

    clothing: tuple[Path, ...]
    shelves: tuple[Path, ...]

    @classmethod
    def find(cls, data: Path, held_out: bool) -> "Backgrounds":
        """Return the photos for training or for evaluation.

        Args:
            data: folder with ``clothing`` and ``grocery``.
            held_out: True: a fifth of clothing and grocery's ``val``, for evaluation; False: the rest of clothing and
                grocery's ``train``.

        Raises:
            FileNotFoundError: a folder is missing or empty.
        """
        clothes = sorted((data / "clothing" / "images").rglob("*.jpg"))
        chosen = [path for path in clothes if (zlib.crc32(path.name.encode()) % HELD_OUT_CLOTHING == 0) == held_out]
        shelves = sorted((data / "grocery" / ("val" if held_out else "train")).rglob("*.jpg"))
        if not chosen or not shelves:
            raise FileNotFoundError(f"{data} must hold clothing/images and grocery/train, grocery/val with photos")
        return cls(tuple(chosen), tuple(shelves))


def crop_background(path: Path, size: ImageSize, rng: Random, zoom: tuple[float, float] = (0.3, 0.9)) -> Image.Image:
    """Return a random crop of a photo, stretched to ``size``.

    Args:
        path: the photo.
        size: width and height in pixels.
        rng: random generator.
        zoom: range of the crop's sides as shares of the photo's. In a small crop the photo's own products are texture
            and do not compete with the pasted product.
    """
    photo = decode_image(path, min_side=192)
    share = rng.uniform(*zoom)
    width, height = max(8, int(photo.width * share)), max(8, int(photo.height * share))
    left, top = rng.randint(0, photo.width - width), rng.randint(0, photo.height - height)
    background = photo.resize(size, Image.Resampling.BILINEAR, box=(left, top, left + width, top + height))
    if rng.random() < 0.5:
        background = background.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.15:
        background = background.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    if rng.random() < 0.3:  # the camera focuses on the product
        background = background.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 4.0)))
    return background


def draw_plain_background(size: ImageSize, rng: Random) -> Image.Image:
    """Return a studio background: light or coloured with a gradient, sometimes with a table edge or texture."""
    width, height = size
    if rng.random() < 0.55:
        tone = rng.uniform(215, 255)
        colour = np.array([tone + rng.uniform(-6, 6) for _ in range(3)])
    else:
        colour = np.array([rng.uniform(10, 250) for _ in range(3)])
    y, x = np.mgrid[0:height, 0:width]
    x = x / width - 0.5
    y = y / height - 0.5
    slope = rng.uniform(0, 60) * (rng.random() < 0.7)
    angle = rng.uniform(0, 2 * np.pi)
    light = slope * (np.cos(angle) * x + np.sin(angle) * y)
    if rng.random() < 0.3:  # vignette
        light = light - rng.uniform(20, 120) * (x * x + y * y)
    pixels = colour + light[..., None]
    if rng.random() < 0.3:  # a table before a wall
        edge = rng.uniform(0.0, 0.4)
        pixels[y > edge] += rng.uniform(-60, 40)
    if rng.random() < 0.4:  # cloth, paper, wood
        grain = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(2, 14), (height, width))
        pixels += ndimage.uniform_filter(grain, rng.choice((1, 2, 4)))[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
