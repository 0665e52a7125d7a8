"""Writes an overview picture of a demo shop: one studio photo and one cluttered photo of each product type."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from demo_shop import DemoWorld
from demo_shop.vocabulary import PRODUCT_TYPES

SHEET_COLUMNS = 10
SHEET_CELL_PIXELS = 120  # pixels
SHEET_GAP_PIXELS = 4
SHEET_COLOURS = 256  # palette of the PNG: keeps the sheet under 300 KB

PhotoEntry = dict[str, Any]
"""A line of boxes.jsonl."""


def write_contact_sheet(shop: Path, world: DemoWorld) -> None:
    """Write ``contact_sheet.png`` from the photos in a shop's folder, unless it exists.

    The cell of a photo that the shop does not have is white.
    """
    path = shop / "contact_sheet.png"
    if path.is_file():
        return
    lines = (shop / "boxes.jsonl").read_text(encoding="utf-8").splitlines()
    chosen = choose_photos(map(json.loads, lines), world)
    kinds = list(PRODUCT_TYPES)
    bands = -(-len(kinds) // SHEET_COLUMNS)
    step = SHEET_CELL_PIXELS + SHEET_GAP_PIXELS
    sheet = Image.new("RGB", (SHEET_COLUMNS * step + SHEET_GAP_PIXELS, bands * 2 * step + SHEET_GAP_PIXELS), "white")
    for (kind, cluttered), entry in chosen.items():
        place = kinds.index(kind)
        row = place // SHEET_COLUMNS * 2 + cluttered
        sheet.paste(
            _crop_to_product(shop, entry),
            (SHEET_GAP_PIXELS + place % SHEET_COLUMNS * step, SHEET_GAP_PIXELS + row * step),
        )
    sheet.quantize(SHEET_COLOURS, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)


def choose_photos(entries: Iterable[PhotoEntry], world: DemoWorld) -> dict[tuple[str, bool], PhotoEntry]:
    """Return the first photo of each (type, cluttered or not)."""
    chosen: dict[tuple[str, bool], PhotoEntry] = {}
    for entry in entries:
        chosen.setdefault((world.find_product(entry["product_id"]).type, entry["cluttered"]), entry)
        if len(chosen) == 2 * len(PRODUCT_TYPES):
            break
    return chosen


def _crop_to_product(shop: Path, entry: PhotoEntry) -> Image.Image:
    """Return the square of a photo around its product, scaled to a cell."""
    with Image.open(shop / entry["image"]) as image:
        x0, y0, x1, y1 = (share * side for share, side in zip(entry["box"], image.size * 2, strict=True))
        side = min(max(x1 - x0, y1 - y0) * 1.3, *image.size)
        left = min(max((x0 + x1 - side) / 2, 0), image.width - side)
        top = min(max((y0 + y1 - side) / 2, 0), image.height - side)
        return image.resize(
            (SHEET_CELL_PIXELS, SHEET_CELL_PIXELS), Image.Resampling.LANCZOS, (left, top, left + side, top + side)
        )
