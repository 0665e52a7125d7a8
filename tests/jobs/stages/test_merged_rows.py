"""Tests of rows to products in the stages: Spark merges as Python does, and validate accounts for every row."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import NightStoppedError
from jobs.stages.merged_rows import MERGED_SCHEMA, count_roles, merge_rows, read_merge_rules
from jobs.stages.pull import pull
from jobs.stages.validate import validate
from schemas.merging import merge_snapshot
from schemas.source import map_record
from schemas.source_mapping import SourceMapping

Record = dict[str, Any]

SHOPIFY = """
title = "Title"
description = "Body"
category = "Type"
attributes = { columns = ["Vendor"], pairs = [["Option1 Name", "Option1 Value"]] }
images = { columns = ["Image"], separator = "," }
product = { key = "Handle" }
where = "Published == 'true'"
"""

WOOCOMMERCE = """
id = "ID"
title = "Name"
description = "Text"
category = "Type"
attributes = ["Brand"]
images = { column = "Images", separator = "," }
parent = { column = "Parent", key = "SKU" }
where = "Published == 1"
"""


class Shop:
    """A folder with a mapping and a catalogue of several files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "files").mkdir(parents=True)

    def deliver(self, mapping: str, *files: list[Record]) -> None:
        """Write the mapping and a file of JSON Lines for each list of records; every record has all columns."""
        (self.folder / "mapping.toml").write_text(mapping)
        for old in (self.folder / "files").iterdir():
            old.unlink()
        columns = dict.fromkeys(SourceMapping.parse(mapping).list_columns())
        for number, records in enumerate(files):
            lines = [json.dumps({**columns, **record}) for record in records]
            (self.folder / "files" / f"{number}.jsonl").write_text("\n".join(lines))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "shop")


@pytest.fixture
def night_of(make_night, shop: Shop):
    """Make a run of the shop, with a delivery that is pulled."""

    def make(mapping: str, *files: list[Record], date: str = "2026-01-02", **options: Any):
        shop.deliver(mapping, *files)
        context = make_night(date, catalog=str(shop.folder / "files"), **{"breaker_floor": 0, **options})
        pull(context)
        return context

    return make


def products(context) -> dict[str, Record]:
    return {row["product_id"]: row for row in context.lake.read_arrow("products", context.partition).to_pylist()}


def roles(context) -> dict[int, tuple[str, int | None]]:
    rows = context.lake.read_arrow("row_roles", context.partition).to_pylist()
    return {row["source_row"]: (row["role"], row["product_row"]) for row in rows}


def boot(number: int, **fields: Any) -> Record:
    """Return a row of the boot; only row 0 has what Shopify writes once."""
    once = {"Title": "Boot", "Body": "Warm", "Type": "Shoes", "Published": "true", "Option1 Name": "Size"}
    return {
        "Handle": "boot",
        "Option1 Value": str(40 + number),
        "Image": f"{number}",
        **(fields if number else {**once, **fields}),
    }


def one(handle: str, **fields: Any) -> Record:
    return {"Handle": handle, "Title": handle, "Type": "Home", "Image": handle, "Published": "true", **fields}


@pytest.mark.parametrize("mapping", [SHOPIFY, WOOCOMMERCE], ids=["product", "parent"])
def test_spark_merges_as_python_does(night_of, mapping: str) -> None:
    chance = random.Random(7)
    parsed = SourceMapping.parse(mapping)
    values = {"Published": [None, "true", "false", 1, "0"], "Image": [None, "a", "b, c"], "Images": [None, "a", "b, c"]}
    values |= {"Handle": [None, "", "x", "y", "z"], "Parent": [None, "", "s", "id:7", "none"], "SKU": [None, "s", "t"]}
    values |= {"ID": list(range(5, 12))}
    records = [
        {name: chance.choice(values.get(name, [None, "", "A", "B"])) for name in parsed.list_columns()}
        for _ in range(60)
    ]
    context = night_of(mapping, records[:25], records[25:26], records[26:])
    rules = read_merge_rules(context)
    assert rules is not None
    snapshot = context.lake.read(context.spark, "snapshots", context.partition)
    found = merge_rows(snapshot.repartition(5), rules).toArrow().select(MERGED_SCHEMA.names).to_pylist()
    base = parsed.resolve_image_base(str(Path(context.settings.catalog)))
    expected = merge_snapshot(
        ((number, map_record(record, parsed, base)) for number, record in enumerate(records)), rules
    )
    assert len(found) == len(expected)
    for row, product in zip(sorted(found, key=lambda row: row["source_row"]), expected, strict=True):
        assert row["source_rows"] == list(product.source_rows)
        assert row["is_left_out"] == product.is_left_out
        for name in ("product_id", "title", "description", "category", "attributes_error", "group_id"):
            assert row[name] == getattr(product.row, name)
        assert dict(row["attributes"]) == product.row.attributes
        assert [image["uri"] for image in row["images"]] == [image.uri for image in product.row.images]


def test_validate_judges_products_and_accounts_for_rows(night_of) -> None:
    context = night_of(
        SHOPIFY,
        [boot(0), one("mug"), boot(1)],
        [one("draft", Published="false"), boot(2), one("bare", Title=None), {"Handle": "draft", "Image": "d"}],
        [{"Handle": "bare", "Image": "e"}, one("", Title="Nobody"), boot(3)],
        breaker_floor=5,
    )
    counts = {"delivered": 10, "valid": 2, "quarantined": 2, "merged": 4, "left_out": 2}
    assert validate(context).counts == counts
    assert roles(context) == {
        2: ("merged", 0), 4: ("merged", 0), 9: ("merged", 0), 7: ("merged", 5), 3: ("left_out", None),
        6: ("left_out", None),
    }  # fmt: skip
    found = products(context)
    assert {name: row["source_row"] for name, row in found.items()} == {"boot": 0, "mug": 1}
    assert {name: row["group_id"] for name, row in found.items()} == {"boot": "boot", "mug": "mug"}
    assert found["boot"]["attributes"] == [("Size", "40, 41, 42, 43")]
    assert [image["uri"][-1] for image in found["boot"]["images"]] == ["0", "1", "2", "3"]
    refused = context.lake.read_arrow("quarantine", context.partition).to_pylist()
    assert {(row["source_row"], row["product_id"], row["reason"]) for row in refused} == {
        (5, "bare", "empty_title"),
        (8, "", "missing_id"),
    }
    assert validate(context).details == {"gate": "passed before"}
    assert validate(context).counts == counts


def test_variants_with_a_parent_stay_products(night_of) -> None:
    shirt = {
        "ID": 10,
        "SKU": "shirt",
        "Name": "Shirt",
        "Text": "Soft",
        "Type": "Clothes",
        "Images": "s",
        "Published": 1,
    }
    rows = [{"ID": number, "Name": f"Shirt {number}", "Parent": "shirt", "Published": 1} for number in (11, 12, 13)]
    context = night_of(WOOCOMMERCE, rows[:2], [{**shirt, "Published": 0}, *rows[2:]])
    assert validate(context).counts == {"delivered": 4, "valid": 3, "quarantined": 0, "merged": 0, "left_out": 1}
    assert {name: (row["title"], row["description"], row["group_id"]) for name, row in products(context).items()} == {
        str(number): (f"Shirt {number}", "Soft", "10") for number in (11, 12, 13)
    }


@pytest.mark.long
def test_the_order_of_rows_changes_only_what_has_an_order(night_of) -> None:
    rows = [boot(0), boot(1), one("mug"), one("hat"), boot(2)]
    first = night_of(SHOPIFY, rows)
    validate(first)
    second = night_of(SHOPIFY, [rows[3], rows[0]], [rows[2], rows[1], rows[4]], date="2026-01-03")
    assert validate(second).counts == {"delivered": 5, "valid": 3, "quarantined": 0, "merged": 2, "left_out": 0}
    hashes = [{name: row["content_hash"] for name, row in products(night).items()} for night in (first, second)]
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize(
    "condition", ["Published == 'yes'", "`No such` == 'x'", "Handle == 'x' and Published == 'true'"]
)
def test_a_condition_that_leaves_no_row_stops_the_run(night_of, condition: str) -> None:
    mapping = SHOPIFY.replace("Published == 'true'", condition)
    context = night_of(mapping, [boot(0), boot(1), one("mug")])
    for _ in range(2):
        with pytest.raises(NightStoppedError, match="leaves out every row") as stopped:
            validate(context)
        assert condition in str(stopped.value)
    assert products(context) == {}
    assert roles(context) == {}


@pytest.mark.long
def test_another_mapping_of_the_same_rows_is_another_state(night_of, shop: Shop) -> None:
    rows = [one("mug"), one("hat", Published="false"), one("cap")]
    context = night_of(SHOPIFY, rows)
    assert validate(context).counts["left_out"] == 1
    context = night_of(SHOPIFY.replace("'true'", "'false'"), rows)
    assert (set(products(context)), validate(context).counts["left_out"]) == ({"mug", "cap"}, 2)
    assert set(products(context)) == {"hat"}
    context = night_of('id = "Handle"\ntitle = "Title"\nimages = "Image"', rows)
    assert validate(context).counts == {"delivered": 3, "valid": 3, "quarantined": 0, "merged": 0, "left_out": 0}
    assert roles(context) == {}


@pytest.mark.long
def test_the_gate_compares_products_with_products(night_of) -> None:
    rows = [[boot(number) for number in range(10)], [one("mug"), one("hat", Published="false")]]
    plain = 'id = "Image"\ntitle = "Handle"\nimages = "Image"'
    # Rows judged one by one, then merged: as much was delivered. Then half of the products are gone.
    validate(night_of(plain, *rows))
    validate(night_of(SHOPIFY, *rows, date="2026-01-03"))
    validate(night_of(SHOPIFY, *rows, date="2026-01-04"))
    with pytest.raises(NightStoppedError, match=r"rows of the latest earlier date: 0\.5 "):
        validate(night_of(SHOPIFY, rows[0], date="2026-01-05", min_row_ratio=0.7))


@pytest.mark.long
def test_rows_that_retention_removed_come_back(night_of) -> None:
    context = night_of(SHOPIFY, [boot(0), boot(1), one("hat", Published="false")])
    first = validate(context)
    context.lake.commit("row_roles", [], attempt="retention", partition=context.partition, mode="overwrite")
    assert count_roles(context) == {"merged": 0, "left_out": 0}
    assert validate(context).counts == first.counts
    strict = replace(context, settings=context.settings.replace(max_title=1))
    with pytest.raises(NightStoppedError, match="none of the"):
        validate(strict)
