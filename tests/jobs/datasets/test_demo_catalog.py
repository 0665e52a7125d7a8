import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo_shop import DemoWorld
from jobs.datasets import demo_products
from jobs.datasets.demo_broken import DEMO_REASONS
from jobs.datasets.demo_catalog import write_demo_catalog
from jobs.datasets.demo_days import DailyShares
from jobs.errors import MoonError
from schemas.source import SourceMapping, map_record
from validation.reasons import Reason

START = date(2026, 11, 20)
SHOP = {"products": 24, "days": 2, "seed": 5, "start": START, "workers": 1}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "shop"
    write_demo_catalog(folder, **SHOP)
    return folder


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def expected(shop: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines(shop / "expected.jsonl")]


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
    return {str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.read_bytes()) for p in files}


def test_the_layout(shop: Path) -> None:
    names = {p.name for p in shop.iterdir()}
    files = {"mapping.toml", "boxes.jsonl", "expected.jsonl", "contact_sheet.png", "demo.json"}
    assert names == {"2026-11-20", "2026-11-21", "images", *files}
    assert SourceMapping.load(shop / "mapping.toml").resolve_image_base("/x") == f"file://{shop}"
    assert not list(shop.rglob("*.tmp"))


def test_expected_points_at_the_broken_lines_and_all_others_are_good(shop: Path) -> None:
    mapping = SourceMapping.load(shop / "mapping.toml")
    for day in ("2026-11-20", "2026-11-21"):
        broken = {e["source_row"]: e for e in expected(shop) if e["date"] == day}
        assert broken
        seen: set[str | None] = set()
        for number, line in enumerate(lines(shop / day / "catalog.jsonl")):
            if number in broken:
                continue
            row = map_record(json.loads(line), mapping, mapping.resolve_image_base(str(shop)))
            assert row.product_id not in seen
            seen.add(row.product_id)
            assert row.title
            assert row.attributes
            assert row.images
            assert all(Path(image.uri.removeprefix("file://")).is_file() and image.version for image in row.images)


def test_expected_ids_are_those_in_the_lines(shop: Path) -> None:
    for entry in expected(shop):
        line = lines(shop / str(entry["date"]) / "catalog.jsonl")[int(str(entry["source_row"]))]
        if entry["reason"] == Reason.MALFORMED_ROW:
            with pytest.raises(json.JSONDecodeError):
                json.loads(line)
        else:
            assert json.loads(line)["id"] == entry["product_id"]


def test_duplicates_come_after_the_row_they_repeat(shop: Path) -> None:
    for entry in expected(shop):
        if entry["reason"] == Reason.DUPLICATE_ID:
            rows = [
                json.loads(line) for line in lines(shop / str(entry["date"]) / "catalog.jsonl") if line.endswith("}")
            ]
            assert [row["id"] for row in rows].count(entry["product_id"]) == 2
            assert entry["source_row"] != 0


def test_again_changes_nothing_and_more_days_only_add(shop: Path) -> None:
    before = state(shop)
    assert write_demo_catalog(shop, **SHOP).drawn == 0
    assert state(shop) == before
    longer = write_demo_catalog(shop, **{**SHOP, "days": 3})
    assert list(longer.rows) == ["2026-11-20", "2026-11-21", "2026-11-22"]
    after = state(shop)
    kept = {name for name in before if name not in ("expected.jsonl", "boxes.jsonl")}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}


def test_a_changed_photo_is_a_new_file_of_a_new_version(shop: Path) -> None:
    first, second = (
        {row["id"]: row for row in map(json.loads, good_lines(shop, day))} for day in ("2026-11-20", "2026-11-21")
    )
    changed = [i for i in first.keys() & second.keys() if first[i]["images"] != second[i]["images"]]
    for product_id in changed:
        for old, new in zip(first[product_id]["images"], second[product_id]["images"], strict=True):
            if old != new:
                assert (shop / old).read_bytes() != (shop / new).read_bytes()
                assert first[product_id]["image_versions"] != second[product_id]["image_versions"]


def good_lines(shop: Path, day: str) -> list[str]:
    broken = {e["source_row"] for e in expected(shop) if e["date"] == day}
    return [line for number, line in enumerate(lines(shop / day / "catalog.jsonl")) if number not in broken]


def test_any_number_of_processes_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_products, "MAX_SERIAL_PHOTOS", 1)
    shops = [tmp_path / "one", tmp_path / "two"]
    for workers, out in enumerate(shops, 1):
        write_demo_catalog(out, products=6, days=1, seed=9, start=START, broken=False, workers=workers)
    one, two = (state(out) for out in shops)
    assert {name: content for name, (_, content) in one.items()} == {
        name: content for name, (_, content) in two.items()
    }


def test_true_boxes_hold_the_product(shop: Path) -> None:
    """The studio photos differ from their ground inside the box, and hardly beyond it."""
    inside_better = 0
    studio = [b for b in map(json.loads, lines(shop / "boxes.jsonl")) if not b["cluttered"]]
    assert len(studio) >= 8
    for entry in studio:
        with Image.open(shop / entry["image"]) as image:
            pixels = np.asarray(image.convert("RGB")).astype(int)
        assert pixels.shape[:2] == (entry["height"], entry["width"])
        x0, y0, x1, y1 = (
            round(v * s) for v, s in zip(entry["box"], [entry["width"], entry["height"]] * 2, strict=True)
        )
        contrast = np.abs(np.diff(pixels, axis=1)).sum(-1)
        inside = contrast[y0:y1, x0 : max(x1 - 1, x0 + 1)].mean()
        mask = np.ones(contrast.shape, dtype=bool)
        mask[y0:y1, x0:x1] = False
        inside_better += inside > (contrast[mask].mean() if mask.any() else 0)
        assert DemoWorld(5).find_product(entry["product_id"]).id == entry["product_id"]
    assert inside_better >= 0.9 * len(studio)


def test_broken_rows_can_be_left_out(tmp_path: Path) -> None:
    summary = write_demo_catalog(tmp_path / "s", products=3, days=1, seed=1, start=START, broken=False, workers=1)
    assert summary.broken == {}
    assert summary.rows == {"2026-11-20": 3}
    assert lines(tmp_path / "s" / "expected.jsonl") == []


def test_tiny_shops_with_broken_rows_are_consistent(tmp_path: Path) -> None:
    for products in (1, 4):
        out = tmp_path / str(products)
        summary = write_demo_catalog(
            out, products=products, days=2, seed=2, start=START, workers=1, shares=DailyShares(0.5, 0.5, 0.5)
        )
        assert set(summary.broken) == {reason.value for reason in DEMO_REASONS}
        assert all(rows == len(lines(out / day / "catalog.jsonl")) for day, rows in summary.rows.items())


def test_another_shop_or_a_strangers_folder_is_refused(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(MoonError, match="seed 5"):
        write_demo_catalog(shop, **{**SHOP, "seed": 6})
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(MoonError, match="no demo shop"):
        write_demo_catalog(tmp_path, **SHOP)
    with pytest.raises(MoonError, match="at least one"):
        write_demo_catalog(tmp_path / "x", **{**SHOP, "products": 0})
