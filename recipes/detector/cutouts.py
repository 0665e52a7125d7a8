"""Products cut out of catalogue photos that have a plain, bright background.

The background is fitted as a smooth surface, from the border of the photo inwards. Soft shadows (darker, without hue
and texture, connected to the background) count as background. A watershed on the gradient finds the exact border.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage, spatial

from demo_shop.drawing import draw_product
from demo_shop.world import DemoWorld
from moon_model.images import decode_image

_Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

WORKING_SIZE = 300
# Checked visually: photos whose product cannot be separated (a frame, a landscape, a second picture).
UNUSABLE_ESHOP = frozenset({5, 6, 12, 22, 26, 35, 36, 43, 45, 47, 53, 62, 70, 73, 79, 83, 93, 98})
UNUSABLE_ICONIC = frozenset({"Garlic"})


def cut_out(photo: Image.Image, convex: bool = False) -> Image.Image | None:
    """Return a product without its plain background.

    Args:
        photo: RGB, a product on a bright background; it is scaled to ``WORKING_SIZE`` pixels.
        convex: whether the product is known to be convex (a carton). If True, its white sides on a white background
            belong to it.

    Returns:
        RGBA, cropped to the product; None if no product is found.
    """
    small = photo.convert("RGB")
    small.thumbnail((WORKING_SIZE, WORKING_SIZE), Image.Resampling.BICUBIC)
    mask = find_product_mask(small, min_part=0.01 if convex else 0.2)
    if not mask.any():
        return None
    if convex:
        mask = fill_convex_hull(mask)
    cut = small.convert("RGBA")
    cut.putalpha(Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(0.7)))
    return cut.crop(Image.fromarray(mask).getbbox())


def find_product_mask(photo: Image.Image, min_part: float = 0.2) -> Mask:
    """Return the product's pixels as a mask [height, width]; all False if no product is found.

    Args:
        photo: RGB, see ``cut_out``.
        min_part: minimum size of a separate part as a share of the largest part.
    """
    # 1. Background: pixels near the fitted surface, and soft shadows on it.
    pixels = np.asarray(photo.filter(ImageFilter.GaussianBlur(0.6)), np.float32)
    background, fitted = _fit_background(pixels)
    distance = np.abs(pixels - fitted).max(axis=2)
    gradient = ndimage.gaussian_gradient_magnitude(pixels.mean(axis=2), 1.0)
    background |= _soft_shadow(pixels / fitted, gradient, background)
    # 2. Markers of the watershed: certain background and certain product.
    certain = ndimage.binary_erosion((distance > 110) | ((distance > 40) & (gradient > 14))) & ~background
    markers = np.zeros(distance.shape, np.int16)
    markers[ndimage.binary_erosion(background, border_value=1)] = 1
    markers[certain] = 2
    if not certain.any():
        return np.zeros(distance.shape, bool)
    # 3. The border follows the gradient. Then parts and holes are cleaned.
    product = ndimage.watershed_ift(np.clip(gradient * 6, 0, 255).astype(np.uint8), markers) == 2
    # A vertical opening: it removes remains of shadows, which are flat and wide, but not straps and poles.
    product = ndimage.binary_opening(product, np.ones((7, 1), bool))
    return _fill(_large_parts(product, min_part), distance)


def fill_convex_hull(mask: Mask) -> Mask:
    """Return the convex hull of a mask."""
    points = np.argwhere(mask)[:, ::-1]
    corners = points[spatial.ConvexHull(points).vertices]
    canvas = Image.new("1", (mask.shape[1], mask.shape[0]))
    ImageDraw.Draw(canvas).polygon([(int(x), int(y)) for x, y in corners], fill=1, outline=1)
    return np.array(canvas, bool)


def _fit_background(pixels: _Floats, rounds: int = 6) -> tuple[Mask, _Floats]:
    """Return the background as a mask, and a quadratic surface [height, width, 3] fitted to it."""
    height, width, _ = pixels.shape
    y, x = np.mgrid[0:height, 0:width] / max(height, width) - 0.5
    basis = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=-1).reshape(-1, 6)
    border = np.ones((height, width), bool)
    depth = max(3, height // 40)
    border[depth:-depth, depth:-depth] = False
    light = pixels.mean(axis=2)
    background = border & (light >= np.percentile(light[border], 40) - 10)
    limit = 14.0
    for _ in range(rounds):
        chosen = background.ravel()
        surface = np.linalg.lstsq(basis[chosen], pixels.reshape(-1, 3)[chosen], rcond=None)[0]
        fitted = (basis @ surface).reshape(height, width, 3)
        distance = np.abs(pixels - fitted).max(axis=2)
        near = distance < limit
        found = _connected(near, border & near)
        background = found if found.any() else background
        if (border & background).any():
            limit = float(np.clip(4 * np.median(distance[border & background]) + 3, 4, 14))
    return background, np.clip(fitted, 1, 255).astype(np.float32)


def _soft_shadow(ratio: _Floats, gradient: _Floats, background: Mask) -> Mask:
    """Return shaded background: equally darker in all colours, smooth, in the lower part, connected to the rest."""
    level = ratio.mean(axis=2)
    shade = (np.ptp(ratio, axis=2) < 0.13) & (level > 0.30) & (level < 1.05) & (gradient < 9)
    joined = _connected(background | ndimage.binary_opening(shade), background)
    joined[: int(0.4 * len(joined))] = False
    return joined


def _connected(area: Mask, seeds: Mask) -> Mask:
    """Return the connected parts of ``area`` that contain a seed."""
    labels, _ = ndimage.label(area)
    kept = np.unique(labels[seeds])
    return np.isin(labels, kept[kept > 0])


def _large_parts(mask: Mask, share: float) -> Mask:
    """Return a mask without small parts; the second shoe of a pair is large enough to stay."""
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = ndimage.sum(mask, labels, range(1, count + 1))
    return np.isin(labels, 1 + np.flatnonzero(sizes >= share * sizes.max()))


def _fill(mask: Mask, distance: _Floats) -> Mask:
    """Return a mask with closed holes, except large ones that show the background (a handle, a strap)."""
    labels, count = ndimage.label(ndimage.binary_fill_holes(mask) & ~mask)
    filled = mask.copy()
    for index in range(1, count + 1):
        hole = labels == index
        if hole.sum() < 25 or np.median(distance[hole]) > 10:
            filled |= hole
    return filled


def load_eshop_cutouts(folder: Path, even: bool) -> list[Image.Image]:
    """Return the cut-outs of eshop's photos; odd ids are for training, even ids for evaluation only."""
    paths = sorted((folder / "Pics").glob("*.webp"), key=lambda path: int(path.stem))
    ids = [path for path in paths if (int(path.stem) % 2 == 0) == even]
    return _cut_all((path, False) for path in ids if int(path.stem) not in UNUSABLE_ESHOP)


def load_iconic_cutouts(folder: Path, held_out: bool) -> list[Image.Image]:
    """Return the cut-outs of grocery's iconic photos; every third, by name, is for evaluation only."""
    paths = sorted((folder / "iconic-images-and-descriptions").rglob("*.jpg"))
    chosen = [path for index, path in enumerate(paths) if (index % 3 == 2) == held_out]
    chosen = [path for path in chosen if path.parent.name not in UNUSABLE_ICONIC]
    return _cut_all((path, "Packages" in path.parts) for path in chosen)


def draw_procedural_cutouts(count: int, seed: int) -> list[Image.Image]:
    """Return products drawn by the demo shop, with types, patterns and colours that the photos do not have."""
    world = DemoWorld(seed=seed)
    drawn = (draw_product(world.get_product(i), np.random.default_rng((seed, i)), 220) for i in range(count))
    return [picture.crop(picture.getchannel("A").getbbox()) for picture in drawn]


def _cut_all(photos: Iterable[tuple[Path, bool]]) -> list[Image.Image]:
    cuts = (cut_out(decode_image(path), convex) for path, convex in photos)
    return [cut for cut in cuts if cut is not None]
