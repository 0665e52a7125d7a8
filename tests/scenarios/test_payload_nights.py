"""A shop whose prices change every night: nothing is encoded, filters find the products, one size of each is a hit."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from jobs.errors import NightStoppedError
from jobs.milvus.client import connect
from jobs.serving.search import search_products
from jobs.settings import Settings
from tests.scenarios.nights import run_night, served_rows

MAPPING = """
id = "id"
title = "name"
images = ["photo"]
parent = { column = "parent", key = "id" }

[payload]
price = { column = "price", type = "number" }
offer = "offer"
tags = { column = "tags", type = "texts", separator = "|" }
in_stock = { column = "stock", type = "boolean" }
"""
FIRST, SECOND, THIRD = "2026-11-20", "2026-11-21", "2026-11-22"
OFFER = 'Today only: "50% off" 😀 it\'s \\ gone'


def deliver(shop: Path, prices: list[object], offer: str = "") -> None:
    """Write the catalogue: a shirt in three sizes and two coats."""
    names = ["shirt S", "shirt M", "shirt L", "coat", "warm coat"]
    rows = [
        {"id": f"p{number}", "name": name, "photo": f"{number % 2}.png", "parent": "p0" if name[:5] == "shirt" else ""}
        | {"price": price, "stock": "yes" if number else "no", "tags": f"new|size {number}", "offer": offer}
        for number, (name, price) in enumerate(zip(names, prices, strict=True))
    ]
    (shop / "catalog.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    for number, colour in enumerate(("red", "green")):
        Image.new("RGB", (80, 64), colour).save(folder / f"{number}.png")
    (folder / "mapping.toml").write_text(MAPPING)
    return folder


@pytest.fixture
def settings(shop: Path, milvus: str, make_settings: Any) -> Settings:
    return make_settings(milvus=milvus, catalog=str(shop / "catalog.jsonl"), breaker_floor=1)


def read_payloads(settings: Settings, collection: str) -> dict[str, dict[str, Any]]:
    with connect(settings) as client:
        client.load_collection(collection)
        rows = client.query(collection, 'product_id != ""', ["payload"], consistency_level="Strong")
    return {row["product_id"]: row["payload"] for row in rows}


@pytest.mark.long
def test_nights_of_new_prices(spark, settings: Settings, shop: Path, tmp_path: Path) -> None:
    deliver(shop, ["9.99 EUR", "1.299,50", 12, "", 80])
    first = run_night(spark, settings, FIRST).results["report"]
    assert (first.counts["encoded"], first.counts["payload"]) == (5, 0)
    collection = first.details["collection"]
    before = served_rows(settings, collection)
    held = read_payloads(settings, collection)
    assert [row.get("price") for row in held.values()] == [9.99, 1299.5, 12, None, 80]
    assert held["p1"] == {"price": 1299.5, "tags": ["new", "size 1"], "in_stock": True}

    # Every price and offer changes: no encoding, the same vectors, all values right, and the plan says so.
    deliver(shop, [1, 2, "call us", 40, 50.5], OFFER)
    outcome = run_night(spark, settings, SECOND)
    plan, report = outcome.results["plan"], outcome.results["report"]
    assert (plan.counts["payload"], plan.counts["new"], plan.counts["changed"], plan.counts["unchanged"]) == (
        5,
        0,
        0,
        0,
    )
    assert plan.details["estimate"] == "nothing to encode; 5 products get new payload values, without the model"
    assert outcome.results["validate"].details["payload"] == "price: 1 (row 2: 'call us')"
    assert (report.counts["payload"], report.counts["encoded"], report.counts["unchanged"]) == (5, 0, 0)
    assert served_rows(settings, collection) == {name: (row[0], SECOND, row[2]) for name, row in before.items()}
    held = read_payloads(settings, collection)
    assert [row.get("price") for row in held.values()] == [1, 2, None, 40, 50.5], "the row without a price is served"
    assert {row["offer"] for row in held.values()} == {OFFER}

    def find(expression: str, **options: Any) -> set[str]:
        hits = search_products(settings, text="a coat or shirt", expression=expression, **options)
        return {hit["product_id"] for hit in hits}

    assert find('payload["price"] > 2') == {"p3", "p4"}
    quoted = json.dumps(OFFER, ensure_ascii=False)
    assert find(f'payload["offer"] == {quoted} and payload["price"] <= 2', all_variants=True) == {"p0", "p1"}
    assert find('payload["in_stock"] == true and json_contains(payload["tags"], "size 4")') == {"p4"}
    assert find("", all_variants=True) == {"p0", "p1", "p2", "p3", "p4"}
    (shirt,) = find("") - {"p3", "p4"}
    assert shirt in {"p0", "p1", "p2"} and len(find("")) == 3, "one size of the shirt"

    # A column that changed its form stops the run; the values stay served.
    deliver(shop, ["a", "b", "c", "d", "e"], OFFER)
    with pytest.raises(NightStoppedError, match=r"price: 5 \(row 0: 'a'\).*More than 10% of the rows"):
        run_night(spark, settings, THIRD)
    assert read_payloads(settings, collection) == held
    counts = run_night(spark, settings, THIRD, allow_refusals=1.0, reason="test").results["report"].counts
    assert (counts["payload"], counts["unchanged"]) == (4, 1)
    assert "price" not in read_payloads(settings, collection)["p4"]
