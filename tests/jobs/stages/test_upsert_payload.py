"""Tests of runs that change only payloads: nothing is encoded, every value is right, also after kills and losses."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jobs.serving.row_writer
import jobs.stages.upsert
from jobs.milvus.client import connect
from jobs.serving.reconcile import Reconciler
from jobs.serving.row_writer import RowWriter
from jobs.stages.row_accounting import count_fates
from jobs.state.ledger import read_ledger
from jobs.state.run_context import RunContext
from tests.jobs.serving.test_row_writer import CountingGuard
from tests.jobs.serving_shop import DIMENSION, ServingShop, ShopItem, build_expected_rows
from tests.jobs.stage_calls import upsert

FIRST, SECOND, THIRD = "2026-01-02", "2026-01-03", "2026-01-04"
WORDS = "E\"U'R 😀 \\ {x}"


def price(count: int, first: int = 0, *, start: float = 0.5, **payload: Any) -> list[ShopItem]:
    """Return products with a payload of their own each."""
    return [
        ShopItem(f"p{number:03d}", f"Mug {number}", payload={"price": start + number, "unit": WORDS, **payload})
        for number in range(first, first + count)
    ]


def find(context: RunContext, shop: ServingShop, expression: str) -> set[str]:
    with connect(context.settings) as client:
        client.load_collection(shop.model.collection)
        rows = client.query(shop.model.collection, expression, ["product_id"], consistency_level="Strong")
    return {row["product_id"] for row in rows}


def expect(rows: list[ShopItem]) -> dict[str, tuple[dict[str, Any], str]]:
    return {row.id: (dict(row.payload or {}), row.payload_hash or "") for row in rows}


def test_a_run_of_new_prices_encodes_nothing(shop: ServingShop) -> None:
    upsert(shop.prepare_run(FIRST, price(12)))
    rows = [*price(11, start=100, tags=["a b", 'c"d']), ShopItem("p011", "Mug 11")]
    context = shop.prepare_run(FIRST, rows)
    vectors = context.lake.open("vectors").version()
    assert shop.plan(context).counts.payload == 12 and shop.plan(context).counts.to_encode == 0
    assert dict(upsert(context).counts) == {"upserted": 12, "deleted": 0, "mended": 0}
    assert context.lake.open("vectors").version() == vectors
    assert shop.read_payloads(context) == expect(rows)
    assert shop.held(context) == build_expected_rows(rows, FIRST), "all other fields and the vectors stay"
    counts = count_fates(context, shop.plan(context))
    assert (counts["payload"], counts["unchanged"], counts["encoded"], counts["reused"]) == (12, 0, 0, 0)
    assert find(context, shop, 'payload["price"] < 102') == {"p000", "p001"}
    assert find(context, shop, f'payload["unit"] == {WORDS_QUOTED} and payload["price"] >= 110') == {"p010"}
    assert find(context, shop, 'json_contains(payload["tags"], "c\\"d")') == {row.id for row in rows[:11]}
    assert shop.prepare_run(FIRST, rows) and dict(upsert(context).counts)["upserted"] == 0


WORDS_QUOTED = '"E\\"U\'R 😀 \\\\ {x}"'


def test_prices_and_products_change_together(shop: ServingShop) -> None:
    upsert(shop.prepare_run(FIRST, price(8)))
    changed = [ShopItem("p000", "Blue", payload={"price": 1}), *price(4, 1, start=9), *price(2, 5), *price(1, 20)]
    context = shop.prepare_run(SECOND, changed)
    assert dict(upsert(context).counts) == {"upserted": 6, "deleted": 1, "mended": 0}
    assert shop.read_payloads(context) == expect(changed)
    today = [changed[0], *changed[1:5], changed[7]]
    assert shop.held(context) == build_expected_rows(today, SECOND) | build_expected_rows(changed[5:7], FIRST)


def test_a_row_that_is_gone_comes_back_whole(lite_shop: ServingShop) -> None:
    shop = lite_shop
    upsert(shop.prepare_run(FIRST, price(6)))
    context = shop.prepare_run(SECOND, price(6, start=50))
    with connect(context.settings) as client:
        client.load_collection(shop.model.collection)
        client.delete(shop.model.collection, filter='product_id == "p004"')
    assert dict(upsert(context).counts)["upserted"] == 6
    assert shop.read_payloads(context) == expect(price(6, start=50))
    assert shop.held(context) == build_expected_rows(price(6), SECOND)


def test_a_lost_payload_is_found_and_brought_back(lite_shop: ServingShop) -> None:
    shop = lite_shop
    upsert(shop.prepare_run(FIRST, price(4)))
    context = shop.prepare_run(SECOND, price(4, start=7))
    upsert(context)
    name = shop.model.collection
    with connect(context.settings) as client:
        client.load_collection(name)
        (old,) = client.query(name, 'product_id == "p001"', ["*"], consistency_level="Strong")
        stale = price(4)[1]
        lost = {"payload": dict(stale.payload or {}), "payload_hash": stale.payload_hash}
        client.upsert(name, [{**{key: value for key, value in old.items() if key != "search_sparse"}, **lost}])
        writer = RowWriter(context.settings, CountingGuard(), name)
        mender = Reconciler(context.spark, context.lake, client, writer, shop.model.model_version, DIMENSION)
        ledger = read_ledger(context.spark, context.lake, name)
        assert mender.reconcile(ledger, dry_run=True).changed == 1
        assert mender.reconcile(ledger).changed == 1
        assert not mender.reconcile(ledger, deep=True, dry_run=True).rows
    assert shop.read_payloads(context) == expect(price(4, start=7))


POINTS = [
    (RowWriter, "send", 1),
    (jobs.serving.row_writer, "_upsert", 2),
    (jobs.stages.upsert, "flush_collection", 1),
    (jobs.stages.upsert, "verify_sample", 1),
    (jobs.stages.upsert.UpsertRun, "_commit", 1),
]


@pytest.mark.long
def test_killed_at_any_point_and_run_again(shop: ServingShop, kill_at: Callable[..., None]) -> None:
    options = {"upsert_batch_bytes": 400}
    first = shop.prepare_run("2026-01-02", price(6), **options)
    upsert(first)
    # A server gets whole rows, from tasks in other processes, and none is read back on its own.
    on_server = ("flush_collection", "_commit")
    points = [point for point in POINTS if first.settings.is_lite or point[1] in on_server]
    for day, (owner, name, call) in enumerate(points, start=3):
        context = shop.prepare_run(f"2026-01-{day:02d}", price(6, start=100 * day), **options)
        kill_at(context, owner, name, call)
        upsert(context)
        assert shop.read_payloads(context) == expect(price(6, start=100 * day)), (name, call)
        assert shop.held(context) == build_expected_rows(price(6), f"2026-01-{day:02d}")


@pytest.mark.long
def test_killed_and_followed_by_other_prices(shop: ServingShop, kill_at: Callable[..., None]) -> None:
    """The killed run wrote new prices that the next catalogue has no more."""
    upsert(shop.prepare_run(FIRST, price(6)))
    kill_at(shop.prepare_run(SECOND, price(6, start=50)), jobs.stages.upsert.UpsertRun, "_commit")
    rows = [*price(3), *price(3, 3, start=80)]
    context = shop.prepare_run(SECOND, rows)
    assert dict(upsert(context).counts) == {"upserted": 3, "deleted": 0, "mended": 3}
    assert shop.read_payloads(context) == expect(rows)
    assert np.allclose(shop.held(context)["p000"][3], build_expected_rows(price(1), FIRST)["p000"][3])
