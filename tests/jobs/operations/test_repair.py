"""Tests of repair: unrecorded changes of the collection are found, reported by kind, and corrected from the lake."""

import pytest

from jobs.milvus.client import connect
from jobs.operations.repair import repair_collection
from jobs.serving.search import NothingPublishedError
from jobs.state.lease import read_lease_state
from jobs.state.ledger import read_ledger_head
from jobs.state.run_context import RunContext
from tests.jobs.serving.test_row_writer import entity
from tests.jobs.serving_shop import ServingShop, build_expected_rows, make_items, make_vector
from tests.jobs.stage_calls import upsert
from tests.milvus_rows import complete_row

DATE = "2026-01-02"


def behind_our_back(shop: ServingShop, context: RunContext) -> None:
    """Two rows are deleted, one has another content, one another title, one is foreign."""
    name, rows = shop.model.collection, make_items(6)
    with connect(context.settings) as client:
        client.load_collection(name)
        fields = ["title", "category", "brand", "content_hash", "snapshot_date", "model_version", "epoch", "vector"]
        (held,) = client.query(name, filter='product_id == "p003"', output_fields=[*fields, "category_1"])
        whole = {**entity("p003"), **held, "category_2": "Mugs", "category_3": ""}
        other = {**entity("p002"), "content_hash": "f" * 64, "epoch": 1, "vector": make_vector(rows[0].content_hash)}
        foreign = {**entity('it\'s "foreign"'), "epoch": 1, "vector": make_vector(rows[0].content_hash)}
        client.delete(name, filter='product_id in ["p001", "p005"]')
        written = [other, foreign, {**whole, "title": "Sold out"}]
        client.upsert(name, [complete_row(client, name, row) for row in written])
        client.flush(name)


@pytest.mark.long
def test_rows_are_mended_and_told_by_kind(shop: ServingShop) -> None:
    context = shop.prepare_run(DATE, make_items(6))
    upsert(context)
    with connect(context.settings) as client:
        client.create_alias(shop.model.collection, "products")
    assert repair_collection(context).as_dict() == {
        "collection": shop.model.collection, "rows": 6, "missing": 0, "changed": 0, "surplus": 0, "mended": 0,
        "dry_run": False,
    }  # fmt: skip
    behind_our_back(shop, context)
    found = repair_collection(context, deep=True, dry_run=True).as_dict()
    assert (found["missing"], found["changed"], found["surplus"], found["mended"]) == (2, 2, 1, 0)
    assert shop.held(context).keys() != {item.id for item in make_items(6)}, "a dry run only looks"

    found = repair_collection(context).as_dict()
    assert (found["missing"], found["changed"], found["surplus"], found["mended"]) == (2, 1, 1, 4)
    assert shop.held(context)["p003"][2] == "Sold out", "its hash and epoch are right: only a deep look sees it"
    deep = repair_collection(context, deep=True).as_dict()
    assert (deep["missing"], deep["changed"], deep["surplus"], deep["mended"]) == (0, 1, 0, 1)
    assert shop.held(context) == build_expected_rows(make_items(6), DATE)

    rows = [row for row in context.lake.read_arrow("runs").to_pylist() if row["stage"] == "repair"]
    assert sorted(dict(row["counts"])["missing"] for row in rows) == [0, 0, 2], "dry runs leave no record"
    assert read_lease_state(context.lake, shop.model.collection).released
    assert read_ledger_head(context.lake, shop.model.collection).version == 1, "the ledger was right all the time"


def test_there_must_be_something_to_repair(lite_shop: ServingShop) -> None:
    with pytest.raises(NothingPublishedError):
        repair_collection(lite_shop.context(DATE))
