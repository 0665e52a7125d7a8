"""Composes photos: a cut-out on a background, with scale, position, shadow and camera effects, and the true box."""

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
    """Return a cut-out on a background with a soft shadow, as an RGB picture and the box of the product.

    The box (x0, y0, x1, y1) is in shares of width and height, tight around the product.

    Args:
        cutout: RGBA, tight around the product.
        background: RGB; the picture has its size.
        rng: decides scale, place and shadow.
        scale: range of the product's longest side as a share of the background's shorter side; None: the cut-out's
            own size, if it fits.

    Raises:
        ValueError: the cut-out has no visible pixel.
    """
    cutout = _fit_cutout(cutout, background.size, rng, scale)
    visible = cutout.getchannel("A").point(lambda a: 255 * (a > 24)).getbbox()
    if visible is None:
        raise ValueError("the cut-out is empty: nothing in it is opaque")
    width, height = background.size
    x = int(rng.integers(0, width - cutout.width + 1))
    y = int(rng.integers(0, height - cutout.height + 1))
    picture = _add_shadow(background, cutout, x, y, rng)
    picture.paste(cutout, (x, y), cutout)
    x0, y0, x1, y1 = visible
    return picture, ((x + x0) / width, (y + y0) / height, (x + x1) / width, (y + y1) / height)


def _fit_cutout(
    cutout: Image.Image, room: tuple[int, int], rng: np.random.Generator, scale: tuple[float, float] | None
) -> Image.Image:
    longest = max(cutout.size) if scale is None else rng.uniform(*scale) * min(room)
    factor = min(longest / max(cutout.size), room[0] / cutout.width, room[1] / cutout.height)
    if factor == 1.0:
        return cutout
    size = (max(int(cutout.width * factor), 1), max(int(cutout.height * factor), 1))
    return cutout.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def _add_shadow(background: Image.Image, cutout: Image.Image, x: int, y: int, rng: np.random.Generator) -> Image.Image:
    """Return the background with the shadow of the cut-out: a soft wide one, and a dark one at its foot."""
    small = (max(background.width // 4, 1), max(background.height // 4, 1))
    quarter = (max(cutout.width // 4, 1), max(cutout.height // 4, 1))
    silhouette = cutout.getchannel("A").resize(quarter, Image.Resampling.BOX)
    reach = max(cutout.size) / 4 * rng.uniform(0.02, 0.08)
    side = rng.uniform(-1, 1)
    wide, foot = Image.new("L", small, 0), Image.new("L", small, 0)
    wide.paste(silhouette, (round(x / 4 + side * reach), round(y / 4 + reach)))
    low = silhouette.resize((silhouette.width, max(silhouette.height // 6, 1)))
    foot.paste(low, (x // 4, (y + cutout.height) // 4 - low.height // 2))
    wide = wide.filter(ImageFilter.GaussianBlur(1 + reach)).point(_build_factor_table(rng.uniform(0.2, 0.45)))
    foot = foot.filter(ImageFilter.GaussianBlur(1.2)).point(_build_factor_table(rng.uniform(0.1, 0.4)))
    dark = ImageChops.lighter(wide, foot).resize(background.size, Image.Resampling.BILINEAR)
    picture = background.copy()
    picture.paste((18, 16, 20), mask=dark)
    return picture


def simulate_camera(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the picture with random exposure, white balance and contrast, and sometimes blur and noise."""
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
    """Write the picture to a JPEG file, whole or not at all, so that a killed run leaves no partial file."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    unfinished.write_bytes(encode_jpeg(picture))
    unfinished.replace(path)


def _build_factor_table(factor: float) -> list[int]:
    return [round(v * factor) for v in range(256)]
