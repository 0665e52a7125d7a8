"""A shop whose export has a row for each variant and photo: products are served, and every row is accounted for."""

import csv
from pathlib import Path

import pytest
from PIL import Image

from jobs.errors import NightStoppedError
from jobs.milvus.client import connect
from jobs.settings import Settings
from tests.scenarios.nights import run_night, served_rows

MAPPING = """
title = "Title"
description = "Body (HTML)"
category = "Type"
attributes = { columns = ["Vendor"], pairs = [["Option1 Name", "Option1 Value"]] }
product = { key = "Handle" }
where = "Status == 'active'"

[images]
columns = ["Image Src", "Variant Image"]
separator = ","
"""
HEADINGS = [
    "Handle", "Title", "Body (HTML)", "Type", "Vendor", "Option1 Name", "Option1 Value", "Image Src", "Variant Image",
    "Status",
]  # fmt: skip
COLOURS = ("red", "green", "blue", "orange")


def make_product(
    handle: str, *, title: str | None = None, status: str = "active", variants: int = 3
) -> list[list[str]]:
    """Return the rows of a product as Shopify exports them: rows after the first have only their own values."""
    photos = ["a.png", "b.png,c.png", "a.png", ""]
    first = [handle, title if title is not None else f"{handle} of clay", "<p>Made by hand</p>", "Home", "Acme", "Size"]
    rows = [[*first, "S", photos[0], "", status]]
    for number in range(1, variants):
        rows.append([handle, "", "", "", "", "", "MLX"[number - 1], photos[number], "d.png", ""])
    return rows


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    for name, colour in zip("abcd", COLOURS, strict=True):
        Image.new("RGB", (80, 64), colour).save(folder / f"{name}.png")
    (folder / "mapping.toml").write_text(MAPPING)
    return folder


def deliver(folder: Path, rows: list[list[str]]) -> None:
    with (folder / "products_export.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADINGS, *rows])


@pytest.mark.long
def test_nights_of_a_shop_with_several_rows_a_product(spark, shop: Path, make_settings) -> None:
    settings: Settings = make_settings(catalog=str(shop / "products_export.csv"), min_row_ratio=0.0)
    mug, vase, bowl = (make_product(handle) for handle in ("mug", "vase", "bowl"))
    hidden = [*make_product("draft", status="draft"), *make_product("old", status="archived", variants=2)]
    untitled = make_product("untitled", title="")
    deliver(shop, [*mug, *vase, *hidden, *bowl, *untitled])
    first = run_night(spark, settings, "2026-11-20")
    counts = first.results["report"].counts
    law = ("delivered", "encoded", "unchanged", "quarantined", "left_out", "merged")
    assert [counts[name] for name in law] == [17, 9, 0, 3, 5, 8]
    planned = first.results["plan"].counts
    assert [planned[name] for name in ("valid", "new", "quarantined", "merged", "left_out")] == [3, 3, 1, 8, 5]
    collection = first.results["report"].details["collection"]
    before = served_rows(settings, collection)
    assert set(before) == {"mug", "vase", "bowl"}

    # The next night the rows come in another order: nothing is encoded.
    deliver(shop, [vase[0], *hidden, mug[0], vase[1], *untitled, mug[1], mug[2], *bowl, vase[2]])
    counts = run_night(spark, settings, "2026-11-21").results["report"].counts
    assert [counts[name] for name in law] == [17, 0, 9, 3, 5, 8]
    assert served_rows(settings, collection) == before

    # The mug has a fourth variant, the vase is a draft now, the bowl is gone.
    deliver(shop, [*make_product("mug", variants=4), *make_product("vase", status="draft")])
    counts = run_night(spark, settings, "2026-11-22").results["report"].counts
    assert [counts[name] for name in law] == [7, 4, 0, 0, 3, 3]
    assert counts["deleted"] == 2
    after = served_rows(settings, collection)
    assert set(after) == {"mug"}
    assert after["mug"] != before["mug"]

    # Nothing is active: the run stops, and what is served stays.
    deliver(shop, [*make_product("mug", status="draft"), *make_product("vase", status="draft")])
    with pytest.raises(NightStoppedError, match="Status == 'active'"):
        run_night(spark, settings, "2026-11-23")
    assert served_rows(settings, collection) == after


@pytest.mark.long
def test_a_broken_row_is_refused_alone_and_its_product_stays(spark, shop: Path, make_settings) -> None:
    settings: Settings = make_settings(catalog=str(shop / "products_export.csv"), min_row_ratio=0.0)
    mug, vase, bowl = (make_product(handle) for handle in ("mug", "vase", "bowl"))
    deliver(shop, [*mug, *vase, *bowl])
    collection = run_night(spark, settings, "2026-11-20").results["report"].details["collection"]
    # A continuation row with a field too many; the vase's first row is broken, and with it title and status are lost.
    deliver(shop, [*mug, [*mug[2], "too", "many"], [*vase[0], "one more"], *vase[1:], *bowl])
    report = run_night(spark, settings, "2026-11-21").results["report"]
    names = ("delivered", "unchanged", "quarantined", "left_out", "deleted", "stale")
    assert [report.counts[name] for name in names] == [10, 6, 2, 2, 0, 1]
    assert set(served_rows(settings, collection)) == {"mug", "vase", "bowl"}


def read_groups(settings: Settings, collection: str) -> dict[str, str]:
    with connect(settings) as client:
        client.load_collection(collection)
        rows = client.query(collection, 'product_id != ""', ["group_id"], consistency_level="Strong")
    return {row["product_id"]: row["group_id"] for row in rows}


@pytest.mark.long
def test_a_variant_of_another_parent_is_served_without_encoding(spark, shop: Path, make_settings) -> None:
    mapping = 'id = "ID"\ntitle = "Name"\ncategory = "Type"\nimages = ["Image"]\n'
    (shop / "mapping.toml").write_text(mapping + 'parent = { column = "Parent", key = "SKU" }\n')
    settings: Settings = make_settings(catalog=str(shop / "products.csv"))
    lines = ["ID,SKU,Parent,Name,Type,Image", "1,shirt,,Shirt,Home,a.png", "2,coat,,Coat,Home,b.png"]

    def serve(date: str, parent: str) -> tuple[list[int], dict[str, str]]:
        rows = [*lines, f"3,,{parent},Red one,Home,c.png", f"4,,{parent},Blue one,Home,d.png"]
        (shop / "products.csv").write_text("\n".join(rows) + "\n")
        report = run_night(spark, settings, date).results["report"]
        counts = [report.counts[name] for name in ("delivered", "encoded", "reused", "unchanged")]
        return counts, read_groups(settings, report.details["collection"])

    assert serve("2026-11-20", "shirt") == ([4, 4, 0, 0], {"1": "1", "2": "2", "3": "1", "4": "1"})
    assert serve("2026-11-21", "id:2") == ([4, 0, 2, 2], {"1": "1", "2": "2", "3": "2", "4": "2"})
    assert serve("2026-11-22", "") == ([4, 0, 2, 2], {"1": "1", "2": "2", "3": "3", "4": "4"})
    assert serve("2026-11-23", "") == ([4, 0, 0, 4], {"1": "1", "2": "2", "3": "3", "4": "4"})
