"""Shading of a part by form, material and light, computed at a fraction of the size and scaled up."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from demo_shop.vocabulary import Material

SHRINK = 4
"""Factor by which shading maps are smaller than the canvas: light changes slowly."""

AMBIENT = 0.48


@dataclass(frozen=True)
class Light:
    """Direction towards the light as a unit vector (x right, y down, z to the viewer), and its strength."""

    x: float
    y: float
    z: float
    strength: float = 1.0

    @staticmethod
    def draw(rng: np.random.Generator) -> "Light":
        """Return a random light from above, left or right of the camera."""
        side = rng.uniform(-0.75, 0.75)
        above = rng.uniform(-0.85, -0.35)
        length = float(np.sqrt(side**2 + above**2 + 0.8**2))
        return Light(side / length, above / length, 0.8 / length, float(rng.uniform(0.9, 1.1)))


def compute_shading(
    mask: Image.Image, form: str, height: float, material: Material, light: Light, folds: np.ndarray
) -> tuple[Image.Image, Image.Image | None]:
    """Return shade and highlight of a part, as L images of the mask's size; None: no highlight.

    The surface is multiplied by the shade and screened with the highlight.

    Args:
        mask: silhouette of the part (L).
        form: "puff", "turned", "sheet", "ball" or "flat" (`SketchPart`).
        height: strength of the relief, 0..1.
        material: decides strength and sharpness of the highlight.
        light: direction and strength of the light.
        folds: height map [64, 64] of the creases in sheets.
    """
    small = mask.reduce(SHRINK) if min(mask.size) >= SHRINK * 2 else mask
    if form == "flat":
        return Image.new("L", mask.size, 244), None
    nx, ny, nz = _compute_normals(small, form, height, folds)
    facing = nx * light.x + ny * light.y + nz * light.z
    diffuse = AMBIENT + (1.0 - AMBIENT) * 1.25 * light.strength * np.clip(facing, 0, 1)
    dark = _enlarge(diffuse, mask.size)
    if material.gloss <= 0.02:
        return dark, None
    half = np.array((light.x, light.y, light.z + 1.0))
    half /= np.linalg.norm(half)
    glint = np.clip(nx * half[0] + ny * half[1] + nz * half[2], 0, 1) ** (material.sharpness * 1.6)
    return dark, _enlarge(glint * material.gloss * 0.75, mask.size)


def _compute_normals(small: Image.Image, form: str, height: float, folds: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the components nx, ny and nz of the surface normals, each [height, width]."""
    if form == "turned":
        return _compute_turned_normals(np.asarray(small) > 127, height)
    if form == "ball":
        y, x = np.mgrid[-1 : 1 : small.height * 1j, -1 : 1 : small.width * 1j]
        return x, y, np.sqrt(np.clip(1 - x**2 - y**2, 0.02, 1))
    radius = min(small.size) * (0.20 if form == "puff" else 0.07)
    swell = np.asarray(small.filter(ImageFilter.GaussianBlur(max(radius, 0.6))), dtype=np.float32) / 255
    rise = 1.6 * height * radius * swell
    if form == "sheet":
        creases = np.asarray(Image.fromarray(folds).resize(small.size, Image.Resampling.BICUBIC), dtype=np.float32)
        rise = rise + height * creases * min(small.size) * 0.06
    if min(rise.shape) < 2:
        return np.zeros_like(rise), np.zeros_like(rise), np.ones_like(rise)
    gy, gx = np.gradient(rise)
    length = np.sqrt(gx**2 + gy**2 + 1)
    return -gx / length, -gy / length, 1 / length


def _compute_turned_normals(inside: np.ndarray, height: float) -> tuple[np.ndarray, ...]:
    """Return the normals of a body of revolution around an upright axis, computed row by row."""
    width = inside.shape[1]
    left = inside.argmax(axis=1)[:, None]
    right = (width - 1 - inside[:, ::-1].argmax(axis=1))[:, None]
    across = np.arange(width)[None, :]
    t = np.clip((2 * across - left - right) / np.maximum(right - left, 1), -1, 1) * min(0.5 + height * 0.8, 0.97)
    return t, np.full_like(t, -0.05), np.sqrt(1 - t**2)


def _enlarge(values: np.ndarray, size: tuple[int, int]) -> Image.Image:
    small = Image.fromarray((np.clip(values, 0, 1) * 255).astype(np.uint8))
    return small.resize(size, Image.Resampling.BILINEAR)


def multiply_tile(picture: Image.Image, tile: Image.Image) -> Image.Image:
    """Return an RGB picture darkened by an L image of its size; 255 leaves a pixel as it is."""
    return ImageChops.multiply(picture, Image.merge("RGB", (tile, tile, tile)))


@lru_cache(maxsize=16)
def draw_grain_tile(kind: str, strength: float) -> Image.Image:
    """Return an L tile [512, 512] of a material's texture; 255 leaves the colour as it is.

    Args:
        kind: grain of a `Material` other than "none".
        strength: darkening of the grain, 0..1.
    """
    rng = np.random.default_rng(7)
    noise = rng.random((512, 512)).astype(np.float32)
    y, x = np.mgrid[0:512, 0:512].astype(np.float32)
    if kind == "weave":
        field = 0.5 * (x % 4 < 2) + 0.5 * (y % 4 < 2) + 0.5 * noise - 0.25
    elif kind == "twill":
        field = ((x + y) % 6 < 3) * 0.7 + 0.4 * noise
    elif kind == "wood":
        field = 0.7 * _draw_streaks(rng, 128, 5) + 0.4 * _draw_streaks(rng, 512, 24)
    elif kind == "brushed":
        field = np.repeat(rng.random((512, 1)).astype(np.float32), 512, axis=1)
    elif kind == "mottle":
        field = _blur_noise(noise, 2.5) * 0.7 + _blur_noise(noise, 9) * 0.6 - 0.15
    elif kind == "fuzz":
        field = _blur_noise(noise, 1.2)
    else:
        field = (noise < 0.04).astype(np.float32) + 0.15 * noise
    return Image.fromarray((255 * (1 - strength * np.clip(field, 0, 1))).astype(np.uint8))


def _draw_streaks(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Return horizontal streaks of 0..1, [512, 512]: more rows are thinner streaks, more columns shorter ones."""
    coarse = Image.fromarray(rng.random((rows, columns)).astype(np.float32))
    return np.asarray(coarse.resize((512, 512), Image.Resampling.BICUBIC)).clip(0, 1)


def _blur_noise(noise: np.ndarray, radius: float) -> np.ndarray:
    """Return the noise blurred and scaled back to 0..1."""
    image = Image.fromarray((noise * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    values = np.asarray(image, dtype=np.float32)
    scaled: np.ndarray = (values - values.min()) / max(float(np.ptp(values)), 1.0)
    return scaled
