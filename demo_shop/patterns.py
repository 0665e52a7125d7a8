"""Surface patterns: a sheet of printed material, from which the canvas cuts what a part shows."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from demo_shop.vocabulary import Rgb


@dataclass(frozen=True)
class PatternStyle:
    """How a pattern is printed.

    Attributes:
        ground, ink, accent: Main colour, pattern colour, and the colour of flower centres.
        period: Distance between repeats in pixels.
        angle: Turn of the whole pattern in degrees.
        rng: Decides the jitter of motifs; same state, same sheet.
    """

    ground: Rgb
    ink: Rgb
    accent: Rgb
    period: float
    angle: float
    rng: np.random.Generator


def draw_pattern_sheet(pattern: str, style: PatternStyle, width: int, height: int) -> Image.Image:
    """Return an RGB sheet [height, width] of the pattern.

    Raises:
        KeyError: The pattern is not in `vocabulary.PATTERNS`.
    """
    if pattern == "plain":
        return Image.new("RGB", (width, height), style.ground)
    if pattern in _STAMPS:
        return _stamped(pattern, style, width, height)
    coverage = _WOVEN[pattern](*_grid(style, width, height))
    ink = Image.fromarray((np.clip(coverage, 0, 1) * 255).astype(np.uint8))
    sheet = Image.new("RGB", (width, height), style.ground)
    sheet.paste(style.ink, mask=ink)
    return sheet


def _grid(how: PatternStyle, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Return turned coordinates u, v, each [height, width] float32, in periods."""
    a = math.radians(how.angle)
    x = (np.arange(width, dtype=np.float32) / how.period)[None, :]
    y = (np.arange(height, dtype=np.float32) / how.period)[:, None]
    phase = how.rng.random(2).astype(np.float32)
    u = x * math.cos(a) + y * math.sin(a) + phase[0]
    v = y * math.cos(a) - x * math.sin(a) + phase[1]
    return u, v


def _striped(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return (v % 1.0 < 0.38).astype(np.float32)


def _checked(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    bands = (u * 0.8 % 1.0 < 0.38).astype(np.float32) + (v * 0.8 % 1.0 < 0.38)
    return np.where(bands == 1, 0.42, bands / 2)


def _zigzag(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    tooth = np.abs(u * 0.9 % 1.0 - 0.5) * 0.9
    return ((v * 0.9 + tooth) % 1.0 < 0.38).astype(np.float32)


def _marbled(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    warp = np.sin(u * 1.7 + 1.3 * np.sin(v * 1.1)) + 0.6 * np.sin(v * 2.3 + u * 0.7)
    veins = np.abs(np.sin(v * 1.6 + 1.5 * warp))
    return np.clip(1.0 - veins * 2.2, 0, 0.95)


_WOVEN: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "striped": _striped,
    "checked": _checked,
    "zigzag": _zigzag,
    "marbled": _marbled,
}


def _stamped(pattern: str, how: PatternStyle, width: int, height: int) -> Image.Image:
    """Print motifs on a staggered, slightly shaken lattice."""
    sheet = Image.new("RGB", (width, height), how.ground)
    draw = ImageDraw.Draw(sheet)
    a, stamp, step = math.radians(how.angle), _STAMPS[pattern], how.period
    reach = math.hypot(width, height) / 2
    shake = 0.0 if pattern == "dotted" else 0.12
    for row in range(-int(reach / step) - 1, int(reach / step) + 2):
        for column in range(-int(reach / step) - 1, int(reach / step) + 2):
            dx, dy, turn = how.rng.random(3)
            u = (column + 0.5 * (row % 2) + shake * (dx - 0.5)) * step
            v = (row * 0.9 + shake * (dy - 0.5)) * step
            x, y = width / 2 + u * math.cos(a) - v * math.sin(a), height / 2 + u * math.sin(a) + v * math.cos(a)
            if -step < x < width + step and -step < y < height + step:
                stamp(draw, x, y, step, turn * 2 * math.pi, how)
    return sheet


def _dot(draw: ImageDraw.ImageDraw, x: float, y: float, step: float, turn: float, how: PatternStyle) -> None:
    r = step * 0.27
    draw.ellipse((x - r, y - r, x + r, y + r), fill=how.ink)


def _star(draw: ImageDraw.ImageDraw, x: float, y: float, step: float, turn: float, how: PatternStyle) -> None:
    points = []
    for k in range(10):
        r = step * (0.44 if k % 2 == 0 else 0.18)
        points.append((x + r * math.sin(turn + k * math.pi / 5), y - r * math.cos(turn + k * math.pi / 5)))
    draw.polygon(points, fill=how.ink)


def _flower(draw: ImageDraw.ImageDraw, x: float, y: float, step: float, turn: float, how: PatternStyle) -> None:
    reach, petal = step * 0.2, step * 0.145
    for k in range(5):
        cx, cy = x + reach * math.cos(turn + k * 1.2566), y + reach * math.sin(turn + k * 1.2566)
        draw.ellipse((cx - petal, cy - petal, cx + petal, cy + petal), fill=how.ink)
    r = step * 0.11
    draw.ellipse((x - r, y - r, x + r, y + r), fill=how.accent)


_STAMPS: dict[str, Callable[[ImageDraw.ImageDraw, float, float, float, float, PatternStyle], None]] = {
    "dotted": _dot,
    "starry": _star,
    "floral": _flower,
}
