"""Scratch collections: each product's latest row of a range, for some days, on each kind of Milvus."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from jobs.errors import NightStoppedError
from jobs.lake.store import Lake
from jobs.milvus.client import connect, read_collection_properties, scan_rows
from jobs.operations.maintain import maintain_lake
from jobs.operations.retire import retire_collection
from jobs.operations.rollback import plan_rollback
from jobs.operations.scratch import drop_expired_scratch, fill_scratch, has_scratch, scratch_name
from jobs.serving.search import search_nearest
from jobs.state.lease import hold_lease
from jobs.state.model_registry import ModelChoice
from jobs.state.run_context import RunContext
from moon_model.collection_contract import read_served_model
from schemas.collection import PROPERTY_EXPIRES, PROPERTY_TTL, SCRATCH_PREFIX, build_collection_schema, is_scratch
from tests.jobs.operations.test_rollback import know
from tests.jobs.serving_shop import ServingShop, ShopItem, build_expected_rows, make_items, make_vector
from tests.jobs.stage_calls import upsert

DAYS = ["2026-01-02", "2026-01-03"]
OTHER = "cd34" * 16
"""Model version of the vectors that are not served."""


@pytest.fixture
def other(shop: ServingShop) -> ModelChoice:
    return replace(shop.model, model_version=OTHER, collection=f"moon_{OTHER[:12]}")


@pytest.fixture
def embedded(shop: ServingShop) -> RunContext:
    """Two snapshots of which another model has the vectors of all but one product."""
    first = shop.prepare_run(DAYS[0], [*make_items(4), ShopItem("old")])
    upsert(first)
    know(first, OTHER, [*make_items(4), ShopItem("old")])
    second = shop.prepare_run(DAYS[1], [*make_items(2, title="Blue"), *make_items(2, first=2), ShopItem("unseen")])
    know(second, OTHER, make_items(2, title="Blue"))
    return second


def held(context: RunContext, name: str) -> dict[str, tuple]:
    with connect(context.settings) as client:
        client.load_collection(name)
        rows = [
            row
            for page in scan_rows(client, name, ["content_hash", "snapshot_date", "title", "vector"])
            for row in page
        ]
    return {
        row["product_id"]: (
            row["content_hash"], row["snapshot_date"], row["title"], tuple(np.float32(row["vector"]).tolist())
        )
        for row in rows
    }  # fmt: skip


def test_it_holds_each_products_latest_row_and_says_when_it_ends(
    shop: ServingShop, other: ModelChoice, embedded: RunContext
) -> None:
    served = shop.held(embedded)
    made = fill_scratch(embedded, other, DAYS, "", 7)
    wanted = {
        **build_expected_rows(make_items(2, title="Blue"), DAYS[1]), **build_expected_rows(make_items(2,
        first=2), DAYS[1]),
        **build_expected_rows([ShopItem("old")], DAYS[0]),
    }  # fmt: skip
    assert made.collection == scratch_name(other, DAYS)
    assert (made.rows, held(embedded, made.collection)) == (5, wanted)
    ends = datetime.fromisoformat(made.expires_at)
    assert timedelta(days=6, hours=23) < ends - datetime.now(UTC) <= timedelta(days=7)
    with connect(embedded.settings) as client:
        properties = read_collection_properties(client, made.collection)
        assert (properties[PROPERTY_EXPIRES], properties[PROPERTY_TTL]) == (made.expires_at, str(7 * 86_400))
        assert read_served_model(client, made.collection).model_version == OTHER
        client.load_collection(made.collection)  # Milvus Lite forgets that with every process
        query = make_vector(ShopItem("old").content_hash)
        assert search_nearest(client, made.collection, query, 1)[0]["product_id"] == "old"
    assert shop.held(embedded) == served, "what readers query is untouched"
    assert fill_scratch(embedded, other, DAYS, "", 7).rows == 5, "the same again is the same collection"


def test_an_expression_takes_some_of_the_products(other: ModelChoice, embedded: RunContext) -> None:
    made = fill_scratch(embedded, other, DAYS, '"Blue" in title', 1)
    assert set(held(embedded, made.collection)) == {"p000", "p001"}
    assert made.collection != scratch_name(other, DAYS)


def test_what_has_expired_is_dropped_by_maintain_and_nothing_else(
    shop: ServingShop, other: ModelChoice, embedded: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, settings = embedded.lake, embedded.settings
    assert not has_scratch(lake)
    stays = fill_scratch(embedded, other, DAYS, "", 9)
    ends = fill_scratch(embedded, other, DAYS[:1], "", 1)
    assert has_scratch(lake)

    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz) + timedelta(days=2)

    with monkeypatch.context() as patch:
        patch.setattr("jobs.operations.scratch.datetime", Later)
        looked = maintain_lake(embedded.spark, lake, settings, dry_run=True)
        assert f"scratch collection expired: {ends.collection}" in [one.what for one in looked]
        with connect(settings) as client:
            with hold_lease(lake, ends.collection, settings):
                assert drop_expired_scratch(client, lake, settings) == [], "one that is being filled again stays"
            assert client.has_collection(ends.collection)
        done = [one for one in maintain_lake(embedded.spark, lake, settings) if one.table == "Milvus"]
    assert [(one.what, one.rows) for one in done] == [(f"scratch collection expired: {ends.collection}", 5)]
    with connect(settings) as client:
        left = {name for name in client.list_collections() if is_scratch(name)}
        assert left == {stays.collection}
        assert client.has_collection(shop.model.collection)


def test_what_a_killed_backfill_left_is_dropped_too(shop: ServingShop, embedded: RunContext) -> None:
    name = f"{SCRATCH_PREFIX}dead"
    with connect(embedded.settings) as client:
        client.create_collection(
            name, schema=build_collection_schema(4), properties={PROPERTY_EXPIRES: "2026-01-01T00:00:00"}
        )
        assert [one.collection for one in drop_expired_scratch(client, embedded.lake, embedded.settings)] == [name]
        assert not client.has_collection(name)


def test_readers_never_get_one_and_it_can_be_retired_early(
    shop: ServingShop, other: ModelChoice, embedded: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.jobs.stage_calls import publish

    publish(replace(embedded, date=DAYS[0]))
    made = fill_scratch(embedded, other, DAYS, "", 7)
    with pytest.raises(NightStoppedError, match="scratch collection of a backfill"):
        plan_rollback(embedded, made.collection)
    assert retire_collection(replace(embedded, reason="seen enough"), made.collection).rows == 5
    with connect(embedded.settings) as client:
        assert not client.has_collection(made.collection)


def test_too_many_for_lite_are_refused_before_anything_is_made(lite_shop: ServingShop) -> None:
    context = lite_shop.prepare_run(DAYS[0], make_items(3), lite_max_rows=2)
    with pytest.raises(NightStoppedError, match=r"3 products are too many for Milvus Lite.*MOON_LITE_MAX_ROWS"):
        fill_scratch(context, lite_shop.model, DAYS[:1], "", 1)
    with connect(context.settings) as client:
        assert client.list_collections() == []
    assert isinstance(context.lake, Lake)
