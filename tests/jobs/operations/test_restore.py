"""restore: a poisoned night is undone in collection and ledger, nights wait, and afterwards they go on."""

import pytest

import jobs.operations.restore
from jobs.errors import NightStoppedError
from jobs.milvus.client import connect
from jobs.operations.restore import restore
from jobs.stages.plan import plan
from jobs.stages.upsert import upsert
from jobs.state.hold import NightHeldError, current_hold, release
from jobs.state.ledger import highwater, ledger_epoch
from jobs.state.run_context import Night
from tests.jobs.serving_shop import Item, Shop, expected, items

FIRST, SECOND, THIRD, FOURTH = "2026-01-02", "2026-01-03", "2026-01-04", "2026-01-05"
GOOD = [*items(2, title="Blue"), *items(3, first=2)]
POISON = [*items(2, title="Free money"), *items(1, first=2), Item("spam 1"), Item("spam 2")]
"""Two products are rewritten, two vanish, two appear."""


def served(shop: Shop) -> Night:
    """Three nights, the last one poisoned."""
    upsert(shop.planned(FIRST, items(5)))
    upsert(shop.planned(SECOND, GOOD))
    night = shop.planned(THIRD, POISON)
    upsert(night)
    with connect(night.settings) as client:
        client.create_alias(shop.model.collection, "products")
    return night


def as_of_second() -> dict:
    return expected(GOOD[:2], SECOND) | expected(GOOD[2:], FIRST)


@pytest.mark.long
def test_a_poisoned_night_is_undone_and_nights_wait(shop: Shop) -> None:
    poisoned = served(shop)
    back = shop.night(SECOND)
    would = restore(back, dry_run=True)
    assert (would.before, would.rows, would.brought_back, would.deleted) == (THIRD, 5, 4, 2)
    assert current_hold(back.lake) is None and shop.held(back).keys() == {item.id for item in POISON}

    done = restore(shop.night(SECOND, reason="spam"))
    assert (done.brought_back, done.deleted, done.dry_run) == (4, 2, False)
    assert shop.held(back) == as_of_second()
    assert shop.ledger(back) == {name: (*row[:2], False) for name, row in as_of_second().items()}
    assert str(highwater(back.lake, shop.model.collection)) == SECOND
    with connect(back.settings) as client:
        client.load_collection(shop.model.collection)
        epoch = ledger_epoch(back.lake, shop.model.collection)
        found = client.query(shop.model.collection, filter=f"epoch == {epoch}", output_fields=["product_id"])
    assert {row["product_id"] for row in found} == {"p000", "p001", "p003", "p004"}, "under a new epoch"

    assert current_hold(back.lake).restored == SECOND
    with pytest.raises(NightHeldError):
        plan(poisoned)
    with pytest.raises(NightHeldError, match=r"\(spam\)"):
        upsert(shop.planned(FOURTH, GOOD))
    assert shop.held(back) == as_of_second()

    release(back.lake, "me")
    mended = shop.planned(THIRD, [*GOOD, Item("new")])
    assert dict(upsert(mended).counts) == {"upserted": 1, "deleted": 0, "mended": 0}
    assert shop.held(mended) == as_of_second() | expected([Item("new")], THIRD)
    with pytest.raises(NightStoppedError, match=r"serves 2026-01-04: there is nothing later than 2026-01-05"):
        restore(shop.night(FOURTH))
    with pytest.raises(NightStoppedError, match="served nothing on 2026-01-01 yet"):
        restore(shop.night("2026-01-01"))


@pytest.mark.long
def test_killed_and_run_again(lite_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger still tells of the poison, but no night may bring it back."""
    shop = lite_shop
    served(shop)
    back = shop.night(SECOND)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(jobs.operations.restore, "_commit", killed)
        with pytest.raises(KeyboardInterrupt):
            restore(back)
    with pytest.raises(NightHeldError):
        upsert(shop.planned(FOURTH, POISON))
    assert restore(back).brought_back == 4
    assert shop.held(back) == as_of_second()
    assert shop.ledger(back).keys() == as_of_second().keys()
