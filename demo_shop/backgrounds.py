"""Backgrounds of photos: plain studio backgrounds, and cluttered ones with a texture and other objects."""

import colorsys

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from demo_shop.geometry import outline_box, outline_ellipse, rotate_outline, smooth_outline
from demo_shop.shading import draw_grain_tile, multiply_tile
from demo_shop.vocabulary import Rgb


def draw_background(rng: np.random.Generator, size: tuple[int, int], cluttered: bool) -> Image.Image:
    """Return an RGB background.

    Args:
        rng: source of all randomness; the same state gives the same pixels.
        size: width and height in pixels.
        cluttered: False: white, grey or pastel, sometimes with the edge of a table. True: wood, tiles, cloth, carpet
            or a shelf, with 4 to 14 objects that are no product of the shop.
    """
    if not cluttered:
        return _draw_studio(rng, size)
    surface = _SURFACES[int(rng.integers(len(_SURFACES)))](rng, size)
    for _ in range(int(rng.integers(4, 15))):
        _draw_object(surface, rng)
    if rng.random() < 0.6:
        surface = surface.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.4, 2.5))))
    return _apply_light(surface, rng, 0.25)


def _draw_studio(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    if rng.random() < 0.3:
        return Image.new("RGB", size, (255, 255, 255))
    wall = _pick_colour(rng, (0.0, 0.18), (0.82, 1.0))
    picture = Image.new("RGB", size, wall)
    if rng.random() < 0.4:
        edge = int(size[1] * rng.uniform(0.5, 0.85))
        picture.paste(_scale_brightness(wall, rng.uniform(0.86, 0.96)), (0, edge, *size))
        picture = picture.filter(ImageFilter.BoxBlur(2))
    return _apply_light(picture, rng, 0.12)


def _draw_wood(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    tone = _pick_colour(rng, (0.3, 0.6), (0.4, 0.85), hue=(0.05, 0.1))
    picture = Image.new("RGB", size, tone)
    draw = ImageDraw.Draw(picture)
    plank = max(int(size[1] * rng.uniform(0.12, 0.4)), 2)
    for k, y in enumerate(range(-int(rng.integers(plank)), size[1], plank)):
        draw.rectangle((0, y, size[0], y + plank), fill=_scale_brightness(tone, 0.9 + 0.2 * float(rng.random())))
        draw.line((0, y, size[0], y), fill=_scale_brightness(tone, 0.55), width=2 if k else 1)
    return multiply_tile(picture, draw_grain_tile("wood", 0.4).resize(size))


def _draw_tiles(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    tone = _pick_colour(rng, (0.0, 0.35), (0.5, 0.95))
    picture = Image.new("RGB", size, _scale_brightness(tone, 0.7))
    draw = ImageDraw.Draw(picture)
    side = max(int(min(size) * rng.uniform(0.14, 0.35)), 6)
    for x in range(-side // 2, size[0], side):
        for y in range(-side // 3, size[1], side):
            fill = _scale_brightness(tone, 0.94 + 0.1 * float(rng.random()))
            draw.rectangle((x + 1, y + 1, x + side - 2, y + side - 2), fill=fill)
    return picture


def _draw_cloth(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    tone = _pick_colour(rng, (0.1, 0.7), (0.35, 0.95))
    other = _pick_colour(rng, (0.0, 0.5), (0.4, 1.0))
    picture = Image.new("RGB", size, tone)
    draw = ImageDraw.Draw(picture)
    step = max(int(min(size) * rng.uniform(0.06, 0.16)), 2)
    if rng.random() < 0.5:
        for x in range(0, size[0] + size[1], step * 2):
            draw.line((x, 0, x - size[1], size[1]), fill=other, width=max(step // 2, 1))
    return multiply_tile(picture, draw_grain_tile("weave", 0.2).resize(size))


def _draw_carpet(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Return blots of similar colours in three sizes, like a rug, a lawn or sand."""
    hue = rng.uniform(0, 0.92)
    tone, other = (_pick_colour(rng, (0.1, 0.6), (0.3, 0.8), hue=(hue, hue + 0.08)) for _ in range(2))
    picture = Image.new("RGB", size, tone)
    for cells in (5, 14, 48):
        noise = Image.fromarray(rng.integers(0, 150, (cells, cells), dtype=np.uint8))
        picture.paste(other, mask=noise.resize(size, Image.Resampling.BICUBIC))
    return multiply_tile(picture, draw_grain_tile("fuzz", 0.4).resize(size))


def _draw_shelf(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Return boards with rows of boxes and books: many upright edges and saturated colours."""
    picture = Image.new("RGB", size, _pick_colour(rng, (0.05, 0.3), (0.3, 0.7)))
    draw = ImageDraw.Draw(picture)
    rows = int(rng.integers(2, 5))
    high = max(size[1] // rows, 12)
    for row in range(rows):
        x = 0
        floor = (row + 1) * high - 6
        while x < size[0]:
            wide = max(int(size[0] * rng.uniform(0.03, 0.14)), 5)
            top = floor - int(high * rng.uniform(0.5, 0.88))
            paint = _pick_colour(rng, (0.1, 0.8), (0.25, 0.95))
            draw.rectangle((x, top, x + wide, floor), fill=paint, outline=_scale_brightness(paint, 0.6))
            label = top + (floor - top) // 3
            draw.rectangle((x + 2, label, x + wide - 2, label + 4), fill=_scale_brightness(paint, 1.5))
            x += wide + int(rng.integers(1, 6))
        draw.rectangle((0, floor, size[0], floor + 6), fill=_pick_colour(rng, (0.1, 0.4), (0.4, 0.8)))
    return picture


_SURFACES = (_draw_wood, _draw_tiles, _draw_cloth, _draw_carpet, _draw_shelf)


def _draw_object(picture: Image.Image, rng: np.random.Generator) -> None:
    """Draw one object with its shadow: a sheet, pebble, leaf, pencil or coin."""
    reach = min(picture.size) * rng.uniform(0.05, 0.2)
    kind = int(rng.integers(5))
    if kind == 0:
        outline = outline_box(-1, -0.72, 1, 0.72, 0.05)
    elif kind == 1:
        corners = [(np.cos(a) * rng.uniform(0.5, 1), np.sin(a) * rng.uniform(0.4, 0.9)) for a in range(6)]
        outline = smooth_outline(corners, steps=6)
    elif kind == 2:
        outline = smooth_outline([(-1, 0), (-0.2, -0.4), (1, 0), (-0.2, 0.4)], steps=8)
    elif kind == 3:
        outline = outline_box(-1.3, -0.07, 1.3, 0.07, 0.05)
    else:
        outline = outline_ellipse(0, 0, 0.35, 0.35)
    centre = rng.uniform((0, 0), picture.size)
    points = rotate_outline(outline * reach, float(rng.uniform(0, 360))) + centre
    paint = _pick_colour(rng, (0.0, 0.85), (0.2, 1.0))
    draw = ImageDraw.Draw(picture)
    draw.polygon([(x + 2, y + 4) for x, y in points], fill=_scale_brightness(_get_pixel(picture, centre), 0.6))
    draw.polygon([(x, y) for x, y in points], fill=paint, outline=_scale_brightness(paint, 0.7))
    if kind in (0, 2):
        inner = (points - centre) * 0.7 + centre
        draw.line([(x, y) for x, y in inner[: len(inner) // 2]], fill=_scale_brightness(paint, 0.75), width=2)


def _get_pixel(picture: Image.Image, point: np.ndarray) -> Rgb:
    x, y = min(int(point[0]), picture.width - 1), min(int(point[1]), picture.height - 1)
    r, g, b = (int(v) for v in picture.getpixel((x, y)))  # type: ignore[union-attr]
    return r, g, b


def _apply_light(picture: Image.Image, rng: np.random.Generator, depth: float) -> Image.Image:
    """Return the background darkened with the distance from a light above it; ``depth`` is the darkening, 0..1."""
    cx, cy = rng.uniform(0.1, 0.9), rng.uniform(-0.2, 0.6)
    y, x = np.mgrid[0:1:24j, 0:1:24j]
    fall = 1 - depth * np.clip(np.hypot(x - cx, y - cy), 0, 1.2) * rng.uniform(0.3, 1.0)
    light = Image.fromarray((fall * 255).astype(np.uint8))
    return multiply_tile(picture, light.resize(picture.size, Image.Resampling.BICUBIC))


def _pick_colour(
    rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float],
    hue: tuple[float, float] = (0.0, 1.0),
) -> Rgb:  # fmt: skip
    """Return a random RGB colour with saturation, value and hue in the given ranges (0..1)."""
    r, g, b = colorsys.hsv_to_rgb(rng.uniform(*hue), rng.uniform(*saturation), rng.uniform(*value))
    return int(r * 255), int(g * 255), int(b * 255)


def _scale_brightness(rgb: Rgb, factor: float) -> Rgb:
    r, g, b = (min(int(c * factor), 255) for c in rgb)
    return r, g, b
