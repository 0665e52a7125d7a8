"""Tests of catch-up: another model's collection gets the served products, repeatedly, while nightly runs continue."""

from dataclasses import replace

import pytest

from jobs.errors import NightStoppedError
from jobs.milvus.client import connect
from jobs.operations.catch_up import (
    CatchUp,
    catch_up_collection,
    estimate_work,
    plan_catch_up,
    read_served_date,
)
from jobs.state.ledger import read_ledger_head
from jobs.state.model_registry import ModelChoice, register_model
from jobs.state.plan_record import require_plan
from jobs.state.run_context import RunContext
from schemas.collection import collection_name
from tests.jobs.serving_shop import ServingShop, ShopItem, build_expected_rows, commit_rows, make_items, make_vector
from tests.jobs.stage_calls import upsert

FIRST, SECOND, THIRD = "2026-01-02", "2026-01-03", "2026-01-04"
OTHER = "cd34" * 16


@pytest.fixture
def other(shop: ServingShop) -> ModelChoice:
    return replace(shop.model, model_version=OTHER, collection=collection_name(OTHER))


def know(context: RunContext, rows: list[ShopItem], date: str = FIRST) -> None:
    """Give the other model vectors of some products, as its encode would."""
    vectors = [
        {"product_id": item.id, "content_hash": item.content_hash, "vector": make_vector(item.content_hash)}
        | {"partial": False}
        for item in rows
    ]
    commit_rows(
        context.lake, "vectors", vectors, {"model_version": OTHER, "date": date}, f"known {len(vectors)} {date}"
    )


def held_by_other(shop: ServingShop, context: RunContext, other: ModelChoice) -> dict:
    mine = shop.model
    shop.model = other
    try:
        return shop.held(context)
    finally:
        shop.model = mine


@pytest.mark.long
def test_it_comes_to_hold_what_is_served_and_follows(shop: ServingShop, other: ModelChoice) -> None:
    context = shop.prepare_run(FIRST, make_items(6))
    upsert(context)
    know(context, make_items(6))
    plan = plan_catch_up(context, other)
    assert (plan.counts.differing, plan.counts.reuse, plan.collection) == (6, 6, other.collection)
    assert str(estimate_work(context, plan)) == "nothing to encode"
    assert plan_catch_up(context, other).run_id == plan.run_id != require_plan(context.lake, FIRST).run_id
    assert catch_up_collection(context, other).results["upsert"].counts["upserted"] == 6
    assert held_by_other(shop, context, other) == build_expected_rows(make_items(6), FIRST)
    assert catch_up_collection(context, other).results["upsert"].counts["upserted"] == 0
    assert read_ledger_head(context.lake, shop.model.collection).version == 1, "the served ledger is not touched"

    later = [*make_items(2, title="Blue"), *make_items(2, first=2), ShopItem("new")]
    third = shop.prepare_run(THIRD, later)
    upsert(third)
    know(third, later, THIRD)
    follower = CatchUp(context, other, shop.model.collection)
    assert dict(follower.run().results["upsert"].counts) == {"upserted": 3, "deleted": 2, "mended": 0}
    assert held_by_other(shop, third, other) == build_expected_rows(
        [*later[:2], later[4]], THIRD
    ) | build_expected_rows(later[2:4], FIRST)
    assert require_plan(context.lake, FIRST).model_version == shop.model.model_version, "the night's plan stands"


@pytest.mark.long
def test_nothing_comes_between_the_last_look_and_the_act(lite_shop: ServingShop) -> None:
    """A run that is served during the catch-up is included before the action."""
    shop = lite_shop
    other = replace(shop.model, model_version=OTHER, collection=collection_name(OTHER))
    context = shop.prepare_run(FIRST, make_items(3))
    upsert(context)
    know(context, make_items(4))
    follower, rounds, acted = CatchUp(context, other, shop.model.collection), [], []

    def catch_up_slowly(self: CatchUp):
        rounds.append(read_served_date(self.context.lake, self.served))
        outcome = catch_up_collection(replace(self.context, date=rounds[-1]), self.model)
        if len(rounds) == 1:
            upsert(shop.prepare_run(SECOND, make_items(4)))
        return outcome

    with pytest.MonkeyPatch.context() as patch, connect(context.settings) as client:
        patch.setattr(CatchUp, "run", catch_up_slowly)
        follower.run_while_locked(
            client, lambda client: acted.append(read_ledger_head(context.lake, other.collection).high_water)
        )
    assert (rounds, acted) == ([FIRST, SECOND], [SECOND])
    assert held_by_other(shop, context, other).keys() == {item.id for item in make_items(4)}


def test_what_was_never_served_or_is_not_in_the_lake(lite_shop: ServingShop) -> None:
    context = lite_shop.context(FIRST)
    with pytest.raises(NightStoppedError, match=r"knows nothing of the served collection moon_x.*--lake"):
        read_served_date(context.lake, "moon_x")
    register_model(context.lake, lite_shop.model)
    with pytest.raises(NightStoppedError, match="nothing is validated for 2026-01-02"):
        plan_catch_up(context, lite_shop.model)
