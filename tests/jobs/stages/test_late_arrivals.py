"""An older date run last: it serves what every later date refused, and nothing else; nights end alike in any order."""

from itertools import permutations

import pytest

from jobs.errors import NightStoppedError
from jobs.stages.upsert import upsert
from jobs.state.ledger import highwater
from tests.jobs.serving_shop import Item, Shop, items

DAYS = ("2026-01-02", "2026-01-03", "2026-01-04")

NIGHTS: dict[str, dict] = {
    DAYS[0]: {"delivered": [*items(3), Item("kept"), Item("gone"), Item("blurred")]},
    DAYS[1]: {"delivered": [*items(3, title="Blue"), Item("blurred")], "refused": ["kept"]},
    DAYS[2]: {
        "delivered": [*items(2), Item("blurred", "Sharp")],
        "refused": ["kept", "p002"],
        "unreadable": ["blurred"],
    },
}
"""Forwards, "kept" stays as the first day served it, "p002" and "blurred" as the second, and "gone" goes."""

FORWARDS = {one.id: one.content_hash for one in (*items(2), Item("kept"), Item("p002", "Blue"), Item("blurred"))}
"""Rows that no night changes keep the date of the night that wrote them, whichever that was."""


def run(shop: Shop, day: str) -> dict[str, int]:
    night = shop.planned(day, **NIGHTS[day])
    return dict(upsert(night).counts)


@pytest.mark.parametrize("order", [order for order in permutations(DAYS) if order[-1] != DAYS[2]])
def test_nights_end_alike_in_any_order(lite_shop: Shop, order: tuple[str, ...]) -> None:
    for day in order:
        run(lite_shop, day)
    night = lite_shop.night(DAYS[2])
    held = {name: row[0] for name, row in lite_shop.held(night).items()}
    # The last night finds "gone" served if the second has not deleted it yet, and then an older date deletes nothing.
    extra = {"gone"} if order == (DAYS[0], DAYS[2], DAYS[1]) else set()
    assert {name: digest for name, digest in held.items() if name not in extra} == FORWARDS
    assert {name: row[0] for name, row in lite_shop.ledger(night).items()} == held
    latest = highwater(night.lake, lite_shop.model.collection)
    assert latest is not None
    assert latest.isoformat() == DAYS[2], "an older date never takes the served date back"


def test_a_late_night_run_again_changes_nothing(shop: Shop) -> None:
    run(shop, DAYS[2])
    assert run(shop, DAYS[0])["upserted"] == 3
    before = shop.held(shop.night(DAYS[0]))
    assert run(shop, DAYS[0]) == {"upserted": 0, "deleted": 0, "mended": 0}
    assert shop.held(shop.night(DAYS[0])) == before


def test_without_its_vectors_it_stops(shop: Shop) -> None:
    run(shop, DAYS[2])
    night = shop.planned(DAYS[0], **NIGHTS[DAYS[0]])
    vectors = {"model_version": shop.model.model_version, "date": DAYS[0]}
    night.lake.commit("vectors", [], attempt=None, partition=vectors, mode="overwrite")
    with pytest.raises(NightStoppedError, match=r"3 products of the plan .* are to be served, 0 have a vector"):
        upsert(night)
