import json
from pathlib import Path

import numpy as np
from PIL import Image

from demo_shop import DemoWorld
from demo_shop.vocabulary import PRODUCT_TYPES
from jobs.datasets.contact_sheet import SHEET_CELL_PIXELS, SHEET_GAP_PIXELS, choose_photos, write_contact_sheet

REPOSITORY = Path(__file__).resolve().parents[3]
WORLD = DemoWorld(1)


def entry(index: int, cluttered: bool) -> dict[str, object]:
    return {
        "image": "a.jpg",
        "product_id": WORLD.product_id(index),
        "box": [0.25, 0.25, 0.75, 0.75],
        "cluttered": cluttered,
    }


def test_the_first_photo_of_each_kind_is_taken() -> None:
    entries = [entry(index, cluttered) for index in range(300) for cluttered in (False, True)]
    chosen = choose_photos(entries, WORLD)
    assert set(chosen) == {(kind, cluttered) for kind in PRODUCT_TYPES for cluttered in (False, True)}
    assert chosen[WORLD.get_product(0).type, True] == entries[1]


def test_photos_lie_in_their_cells_and_the_sheet_is_written_once(tmp_path: Path) -> None:
    Image.new("RGB", (200, 160), "red").save(tmp_path / "a.jpg")
    (tmp_path / "boxes.jsonl").write_text(json.dumps(entry(0, True)) + "\n")
    write_contact_sheet(tmp_path, WORLD)
    sheet = tmp_path / "contact_sheet.png"
    with Image.open(sheet) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    place = list(PRODUCT_TYPES).index(WORLD.get_product(0).type)
    x, y = (
        SHEET_GAP_PIXELS + place % 10 * (SHEET_CELL_PIXELS + SHEET_GAP_PIXELS),
        SHEET_GAP_PIXELS + (place // 10 * 2 + 1) * (SHEET_CELL_PIXELS + SHEET_GAP_PIXELS),
    )
    red = (pixels[..., 0] > 200) & (pixels[..., 1] < 60)
    assert red[y : y + SHEET_CELL_PIXELS, x : x + SHEET_CELL_PIXELS].all()
    assert red.sum() == SHEET_CELL_PIXELS * SHEET_CELL_PIXELS
    stamp = sheet.stat().st_mtime_ns
    write_contact_sheet(tmp_path, WORLD)
    assert sheet.stat().st_mtime_ns == stamp


def test_the_readmes_copy_is_small() -> None:
    assert (REPOSITORY / "docs" / "contact_sheet.png").stat().st_size < 300_000
