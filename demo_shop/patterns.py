"""Surface patterns, drawn as sheets from which the canvas cuts the surface of each part."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from demo_shop.vocabulary import Rgb


@dataclass(frozen=True)
class PatternStyle:
    """Colours, size and angle of a printed pattern.

    Attributes:
        background: main colour.
        ink: colour of the pattern.
        accent: colour of flower centres.
        period: distance between repeats in pixels.
        angle: rotation of the whole pattern in degrees.
        rng: decides phase and jitter; the same state gives the same sheet.
    """

    background: Rgb
    ink: Rgb
    accent: Rgb
    period: float
    angle: float
    rng: np.random.Generator


def draw_pattern_sheet(pattern: str, style: PatternStyle, width: int, height: int) -> Image.Image:
    """Return an RGB sheet of the pattern, with width and height in pixels.

    Raises:
        KeyError: the pattern is not in `vocabulary.PATTERNS`.
    """
    if pattern == "plain":
        return Image.new("RGB", (width, height), style.background)
    if pattern in _STAMPS:
        return _stamp_motifs(pattern, style, width, height)
    coverage = _WOVEN[pattern](*_compute_grid(style, width, height))
    ink = Image.fromarray((np.clip(coverage, 0, 1) * 255).astype(np.uint8))
    sheet = Image.new("RGB", (width, height), style.background)
    sheet.paste(style.ink, mask=ink)
    return sheet


def _compute_grid(style: PatternStyle, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rotated coordinates u and v of each pixel in periods, each float32 [height, width]."""
    a = math.radians(style.angle)
    x = (np.arange(width, dtype=np.float32) / style.period)[None, :]
    y = (np.arange(height, dtype=np.float32) / style.period)[:, None]
    phase = style.rng.random(2).astype(np.float32)
    u = x * math.cos(a) + y * math.sin(a) + phase[0]
    v = y * math.cos(a) - x * math.sin(a) + phase[1]
    return u, v


def _cover_striped(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return (v % 1.0 < 0.38).astype(np.float32)


def _cover_checked(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    bands = (u * 0.8 % 1.0 < 0.38).astype(np.float32) + (v * 0.8 % 1.0 < 0.38)
    return np.where(bands == 1, 0.42, bands / 2)


def _cover_zigzag(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    tooth = np.abs(u * 0.9 % 1.0 - 0.5) * 0.9
    return ((v * 0.9 + tooth) % 1.0 < 0.38).astype(np.float32)


def _cover_marbled(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    warp = np.sin(u * 1.7 + 1.3 * np.sin(v * 1.1)) + 0.6 * np.sin(v * 2.3 + u * 0.7)
    veins = np.abs(np.sin(v * 1.6 + 1.5 * warp))
    return np.clip(1.0 - veins * 2.2, 0, 0.95)


_WOVEN: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "striped": _cover_striped,
    "checked": _cover_checked,
    "zigzag": _cover_zigzag,
    "marbled": _cover_marbled,
}


def _stamp_motifs(pattern: str, style: PatternStyle, width: int, height: int) -> Image.Image:
    """Return a sheet with motifs on a staggered lattice; all motifs but dots are moved a little at random."""
    sheet = Image.new("RGB", (width, height), style.background)
    draw = ImageDraw.Draw(sheet)
    a = math.radians(style.angle)
    step = style.period
    reach = math.hypot(width, height) / 2
    jitter = 0.0 if pattern == "dotted" else 0.12
    for row in range(-int(reach / step) - 1, int(reach / step) + 2):
        for column in range(-int(reach / step) - 1, int(reach / step) + 2):
            dx, dy, turn = style.rng.random(3)
            u = (column + 0.5 * (row % 2) + jitter * (dx - 0.5)) * step
            v = (row * 0.9 + jitter * (dy - 0.5)) * step
            x, y = width / 2 + u * math.cos(a) - v * math.sin(a), height / 2 + u * math.sin(a) + v * math.cos(a)
            if -step < x < width + step and -step < y < height + step:
                _STAMPS[pattern](draw, x, y, step, turn * 2 * math.pi, style)
    return sheet


def _draw_dot(draw: ImageDraw.ImageDraw, x: float, y: float, step: float, turn: float, style: PatternStyle) -> None:
    draw.circle((x, y), step * 0.27, fill=style.ink)


def _draw_star(draw: ImageDraw.ImageDraw, x: float, y: float, step: float, turn: float, style: PatternStyle) -> None:
    points = []
    for k in range(10):
        r = step * (0.44 if k % 2 == 0 else 0.18)
        points.append((x + r * math.sin(turn + k * math.pi / 5), y - r * math.cos(turn + k * math.pi / 5)))
    draw.polygon(points, fill=style.ink)


def _draw_flower(draw: ImageDraw.ImageDraw, x: float, y: float, step: float, turn: float, style: PatternStyle) -> None:
    reach = step * 0.2
    for k in range(5):
        centre = (x + reach * math.cos(turn + k * 1.2566), y + reach * math.sin(turn + k * 1.2566))
        draw.circle(centre, step * 0.145, fill=style.ink)
    draw.circle((x, y), step * 0.11, fill=style.accent)


_STAMPS: dict[str, Callable[[ImageDraw.ImageDraw, float, float, float, float, PatternStyle], None]] = {
    "dotted": _draw_dot,
    "starry": _draw_star,
    "floral": _draw_flower,
}
