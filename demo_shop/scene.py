"""Putting a cut-out on a ground: place, scale, shadow, camera; and the true box of where it came to lie."""

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageEnhance, ImageFilter

RelativeBox = tuple[float, float, float, float]


def compose_scene(
    cutout: Image.Image,
    background: Image.Image,
    rng: np.random.Generator,
    scale: tuple[float, float] | None = (0.4, 0.85),
) -> tuple[Image.Image, RelativeBox]:
    """Place a cut-out at random on a ground, with a soft shadow.

    Args:
        cutout: RGBA, tight around the product.
        background: RGB; the result has its size.
        rng: Decides scale, place and shadow.
        scale: Longest side of the product as a share of the ground's shorter side (low, high); None keeps the
            cut-out as it is where it fits.

    Returns:
        RGB picture and box (x0, y0, x1, y1) as shares of width and height, tight around the product.

    Raises:
        ValueError: The cut-out has no visible pixel.
    """
    cutout = _fitted(cutout, background.size, rng, scale)
    visible = cutout.getchannel("A").point(lambda a: 255 * (a > 24)).getbbox()
    if visible is None:
        raise ValueError("the cut-out is empty: nothing in it is opaque")
    width, height = background.size
    x = int(rng.integers(0, width - cutout.width + 1))
    y = int(rng.integers(0, height - cutout.height + 1))
    picture = _with_shadow(background, cutout, x, y, rng)
    picture.paste(cutout, (x, y), cutout)
    x0, y0, x1, y1 = visible
    return picture, ((x + x0) / width, (y + y0) / height, (x + x1) / width, (y + y1) / height)


def _fitted(
    cutout: Image.Image, room: tuple[int, int], rng: np.random.Generator, scale: tuple[float, float] | None
) -> Image.Image:
    longest = max(cutout.size) if scale is None else rng.uniform(*scale) * min(room)
    factor = min(longest / max(cutout.size), room[0] / cutout.width, room[1] / cutout.height)
    if factor == 1.0:
        return cutout
    size = (max(int(cutout.width * factor), 1), max(int(cutout.height * factor), 1))
    return cutout.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def _with_shadow(ground: Image.Image, cutout: Image.Image, x: int, y: int, rng: np.random.Generator) -> Image.Image:
    """Return the ground with the shadow the cut-out casts: one soft and wide, one dark at its foot."""
    small = (max(ground.width // 4, 1), max(ground.height // 4, 1))
    silhouette = cutout.getchannel("A").resize(
        (max(cutout.width // 4, 1), max(cutout.height // 4, 1)), Image.Resampling.BOX
    )
    reach = max(cutout.size) / 4 * rng.uniform(0.02, 0.08)
    side = rng.uniform(-1, 1)
    wide, foot = Image.new("L", small, 0), Image.new("L", small, 0)
    wide.paste(silhouette, (round(x / 4 + side * reach), round(y / 4 + reach)))
    low = silhouette.resize((silhouette.width, max(silhouette.height // 6, 1)))
    foot.paste(low, (x // 4, (y + cutout.height) // 4 - low.height // 2))
    wide = wide.filter(ImageFilter.GaussianBlur(1 + reach)).point(_times(rng.uniform(0.2, 0.45)))
    foot = foot.filter(ImageFilter.GaussianBlur(1.2)).point(_times(rng.uniform(0.1, 0.4)))
    dark = ImageChops.lighter(wide, foot).resize(ground.size, Image.Resampling.BILINEAR)
    picture = ground.copy()
    picture.paste((18, 16, 20), mask=dark)
    return picture


def simulate_camera(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the picture as a camera gives it: exposure, white balance, contrast, a little blur and noise."""
    warm = rng.normal(0, 0.025)
    gains = rng.normal(1.0, 0.06) * np.array((1 + warm, 1.0, 1 - warm))
    table = np.clip(np.outer(gains, np.arange(256)), 0, 255).round().astype(int)
    picture = picture.point(table.ravel().tolist())
    picture = ImageEnhance.Contrast(picture).enhance(float(rng.uniform(0.88, 1.1)))
    if rng.random() < 0.25:
        picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 0.9))))
    if rng.random() < 0.5:
        grain = rng.integers(-6, 7, size=(picture.height, picture.width, 1), dtype=np.int16)
        picture = Image.fromarray(np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8))
    return picture


def encode_jpeg(picture: Image.Image, quality: int = 88) -> bytes:
    """Return the picture as JPEG bytes; equal pictures give equal bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def save_jpeg(picture: Image.Image, path: Path) -> None:
    """Write the picture as a file, whole or not at all: a killed run leaves no torso that the next one keeps."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    unfinished.write_bytes(encode_jpeg(picture))
    unfinished.replace(path)


def _times(factor: float) -> list[int]:
    return [round(v * factor) for v in range(256)]
