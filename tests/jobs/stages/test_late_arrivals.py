"""Tests of an older date run last: it serves only what every later date refused; the order of dates does not matter."""

from itertools import permutations

import pytest

from jobs.errors import NightStoppedError
from jobs.state.ledger import read_ledger_head
from tests.jobs.serving_shop import ServingShop, ShopItem, make_items
from tests.jobs.stage_calls import upsert

DAYS = ("2026-01-02", "2026-01-03", "2026-01-04")

NIGHTS: dict[str, dict] = {
    DAYS[0]: {"delivered": [*make_items(3), ShopItem("kept"), ShopItem("gone"), ShopItem("blurred")]},
    DAYS[1]: {"delivered": [*make_items(3, title="Blue"), ShopItem("blurred")], "refused": ["kept"]},
    DAYS[2]: {
        "delivered": [*make_items(2), ShopItem("blurred", "Sharp")],
        "refused": ["kept", "p002"],
        "unreadable": ["blurred"],
    },
}
"""In date order, "kept" stays as of the first date, "p002" and "blurred" as of the second; "gone" is deleted."""

FORWARDS = {
    one.id: one.content_hash
    for one in (*make_items(2), ShopItem("kept"), ShopItem("p002", "Blue"), ShopItem("blurred"))
}
"""Rows that no run changes keep the date of the run that wrote them, so it depends on the order."""


def run(shop: ServingShop, day: str) -> dict[str, int]:
    context = shop.prepare_run(day, **NIGHTS[day])
    return dict(upsert(context).counts)


@pytest.mark.parametrize(
    "order",
    [
        pytest.param(order, marks=pytest.mark.long if order != (DAYS[1], DAYS[2], DAYS[0]) else ())
        for order in permutations(DAYS)
        if order[-1] != DAYS[2]
    ],
)
def test_nights_end_alike_in_any_order(lite_shop: ServingShop, order: tuple[str, ...]) -> None:
    for day in order:
        run(lite_shop, day)
    context = lite_shop.context(DAYS[2])
    held = {name: row[0] for name, row in lite_shop.held(context).items()}
    # The last night finds "gone" served if the second has not deleted it yet, and then an older date deletes nothing.
    extra = {"gone"} if order == (DAYS[0], DAYS[2], DAYS[1]) else set()
    assert {name: digest for name, digest in held.items() if name not in extra} == FORWARDS
    assert {name: row[0] for name, row in lite_shop.read_ledger(context).items()} == held
    latest = read_ledger_head(context.lake, lite_shop.model.collection).high_water
    assert latest == DAYS[2], "an older date never takes the served date back"


@pytest.mark.long
def test_a_late_night_run_again_changes_nothing(shop: ServingShop) -> None:
    run(shop, DAYS[2])
    assert run(shop, DAYS[0])["upserted"] == 3
    before = shop.held(shop.context(DAYS[0]))
    assert run(shop, DAYS[0]) == {"upserted": 0, "deleted": 0, "mended": 0}
    assert shop.held(shop.context(DAYS[0])) == before


def test_without_its_vectors_it_stops(shop: ServingShop) -> None:
    run(shop, DAYS[2])
    context = shop.prepare_run(DAYS[0], **NIGHTS[DAYS[0]])
    vectors = {"model_version": shop.model.model_version, "date": DAYS[0]}
    context.lake.commit("vectors", [], attempt=None, partition=vectors, mode="overwrite")
    with pytest.raises(NightStoppedError, match=r"3 products of the plan .* are to be served, 0 have a vector"):
        upsert(context)
