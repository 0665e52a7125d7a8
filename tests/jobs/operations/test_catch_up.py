"""Catching up: another model's collection comes to hold what is served, again and again, while nights go on."""

from dataclasses import replace

import pytest

from jobs.errors import NightStoppedError
from jobs.milvus.client import connect
from jobs.operations.catch_up import Follower, catch_up, expected_work, lacks, plan_of, served_date
from jobs.stages.upsert import upsert
from jobs.state.ledger import highwater, ledger_version
from jobs.state.model_registry import ModelChoice, register_model
from jobs.state.plan_record import required_plan
from jobs.state.run_context import Night
from schemas.collection import collection_name
from tests.jobs.serving_shop import Item, Shop, expected, items, vector_of, write

FIRST, SECOND, THIRD = "2026-01-02", "2026-01-03", "2026-01-04"
OTHER = "cd34" * 16


@pytest.fixture
def other(shop: Shop) -> ModelChoice:
    return replace(shop.model, model_version=OTHER, collection=collection_name(OTHER))


def know(night: Night, rows: list[Item], date: str = FIRST) -> None:
    """Give the other model vectors of some products, as its encode would."""
    vectors = [
        {"product_id": item.id, "content_hash": item.content_hash, "vector": vector_of(item.content_hash)}
        | {"partial": False}
        for item in rows
    ]
    write(night.lake, "vectors", vectors, {"model_version": OTHER, "date": date}, f"known {len(vectors)} {date}")


def held_by_other(shop: Shop, night: Night, other: ModelChoice) -> dict:
    mine = shop.model
    shop.model = other
    try:
        return shop.held(night)
    finally:
        shop.model = mine


@pytest.mark.long
def test_it_comes_to_hold_what_is_served_and_follows(shop: Shop, other: ModelChoice) -> None:
    night = shop.planned(FIRST, items(6))
    upsert(night)
    know(night, items(6))
    plan = plan_of(night, other)
    assert (lacks(plan), plan.counts["reuse"], plan.collection) == (6, 6, other.collection)
    assert str(expected_work(night, plan)) == "nothing to encode"
    assert plan_of(night, other).run_id == plan.run_id != required_plan(night.lake, FIRST).run_id
    assert catch_up(night, other).results["upsert"].counts["upserted"] == 6
    assert held_by_other(shop, night, other) == expected(items(6), FIRST)
    assert catch_up(night, other).results["upsert"].counts["upserted"] == 0
    assert ledger_version(night.lake, shop.model.collection) == 1, "the served ledger is not touched"

    later = [*items(2, title="Blue"), *items(2, first=2), Item("new")]
    third = shop.planned(THIRD, later)
    upsert(third)
    know(third, later, THIRD)
    follower = Follower(night, other, shop.model.collection)
    assert dict(follower.catch_up().results["upsert"].counts) == {"upserted": 3, "deleted": 2, "mended": 0}
    assert held_by_other(shop, third, other) == expected([*later[:2], later[4]], THIRD) | expected(later[2:4], FIRST)
    assert required_plan(night.lake, FIRST).model_version == shop.model.model_version, "the night's plan stands"


@pytest.mark.long
def test_nothing_comes_between_the_last_look_and_the_act(lite_shop: Shop) -> None:
    """A night that is served while we catch up is caught up with before we act."""
    shop = lite_shop
    other = replace(shop.model, model_version=OTHER, collection=collection_name(OTHER))
    night = shop.planned(FIRST, items(3))
    upsert(night)
    know(night, items(4))
    follower, rounds, acted = Follower(night, other, shop.model.collection), [], []

    def catch_up_slowly(self: Follower):
        rounds.append(served_date(self.night.lake, self.served))
        outcome = catch_up(replace(self.night, date=rounds[-1]), self.model)
        if len(rounds) == 1:
            upsert(shop.planned(SECOND, items(4)))
        return outcome

    with pytest.MonkeyPatch.context() as patch, connect(night.settings) as client:
        patch.setattr(Follower, "catch_up", catch_up_slowly)
        follower.then(client, lambda client: acted.append(highwater(night.lake, other.collection).isoformat()))
    assert (rounds, acted) == ([FIRST, SECOND], [SECOND])
    assert held_by_other(shop, night, other).keys() == {item.id for item in items(4)}


def test_what_was_never_served_or_is_not_in_the_lake(lite_shop: Shop) -> None:
    night = lite_shop.night(FIRST)
    with pytest.raises(NightStoppedError, match=r"knows nothing of the served collection moon_x.*--lake"):
        served_date(night.lake, "moon_x")
    register_model(night.lake, lite_shop.model)
    with pytest.raises(NightStoppedError, match="nothing is validated for 2026-01-02"):
        plan_of(night, lite_shop.model)
