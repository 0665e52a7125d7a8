"""Tests of restore: a bad run is undone in collection and ledger, and runs are held until the release."""

import pytest

from jobs.errors import NightStoppedError
from jobs.milvus.client import connect
from jobs.operations.restore import restore_date
from jobs.stages.plan import plan
from jobs.state.hold import RunsHeldError, read_hold, release_hold
from jobs.state.ledger import read_ledger_head
from jobs.state.run_context import RunContext
from tests.jobs.serving_shop import ServingShop, ShopItem, build_expected_rows, make_items
from tests.jobs.stage_calls import upsert

FIRST, SECOND, THIRD, FOURTH = "2026-01-02", "2026-01-03", "2026-01-04", "2026-01-05"
GOOD = [*make_items(2, title="Blue"), *make_items(3, first=2)]
POISON = [*make_items(2, title="Free money"), *make_items(1, first=2), ShopItem("spam 1"), ShopItem("spam 2")]
"""Two products have another title, two are missing, two are new."""


def served(shop: ServingShop) -> RunContext:
    """Three served dates, the last one with bad data."""
    upsert(shop.prepare_run(FIRST, make_items(5)))
    upsert(shop.prepare_run(SECOND, GOOD))
    context = shop.prepare_run(THIRD, POISON)
    upsert(context)
    with connect(context.settings) as client:
        client.create_alias(shop.model.collection, "products")
    return context


def as_of_second() -> dict:
    return build_expected_rows(GOOD[:2], SECOND) | build_expected_rows(GOOD[2:], FIRST)


@pytest.mark.long
def test_a_poisoned_night_is_undone_and_nights_wait(shop: ServingShop) -> None:
    poisoned = served(shop)
    back = shop.context(SECOND)
    would = restore_date(back, dry_run=True)
    assert (would.before, would.rows, would.brought_back, would.deleted) == (THIRD, 5, 4, 2)
    assert read_hold(back.lake) is None and shop.held(back).keys() == {item.id for item in POISON}

    done = restore_date(shop.context(SECOND, reason="spam"))
    assert (done.brought_back, done.deleted, done.dry_run) == (4, 2, False)
    assert shop.held(back) == as_of_second()
    assert shop.read_ledger(back) == {name: (*row[:2], False) for name, row in as_of_second().items()}
    assert str(read_ledger_head(back.lake, shop.model.collection).high_water) == SECOND
    with connect(back.settings) as client:
        client.load_collection(shop.model.collection)
        epoch = read_ledger_head(back.lake, shop.model.collection).epoch
        found = client.query(shop.model.collection, filter=f"epoch == {epoch}", output_fields=["product_id"])
    assert {row["product_id"] for row in found} == {"p000", "p001", "p003", "p004"}, "under a new epoch"

    assert read_hold(back.lake).restored == SECOND
    with pytest.raises(RunsHeldError):
        plan(poisoned)
    with pytest.raises(RunsHeldError, match=r"\(spam\)"):
        upsert(shop.prepare_run(FOURTH, GOOD))
    assert shop.held(back) == as_of_second()

    release_hold(back.lake, "me")
    mended = shop.prepare_run(THIRD, [*GOOD, ShopItem("new")])
    assert dict(upsert(mended).counts) == {"upserted": 1, "deleted": 0, "mended": 0}
    assert shop.held(mended) == as_of_second() | build_expected_rows([ShopItem("new")], THIRD)
    with pytest.raises(NightStoppedError, match=r"serves 2026-01-04: there is nothing later than 2026-01-05"):
        restore_date(shop.context(FOURTH))
    with pytest.raises(NightStoppedError, match="served nothing on 2026-01-01 yet"):
        restore_date(shop.context("2026-01-01"))


@pytest.mark.long
def test_killed_and_run_again(lite_shop: ServingShop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger still has the bad rows, but no later run may serve them again."""
    shop = lite_shop
    served(shop)
    back = shop.context(SECOND)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("jobs.serving.ledger_change.commit_ledger", killed)
        with pytest.raises(KeyboardInterrupt):
            restore_date(back)
    with pytest.raises(RunsHeldError):
        upsert(shop.prepare_run(FOURTH, POISON))
    assert restore_date(back).brought_back == 4
    assert shop.held(back) == as_of_second()
    assert shop.read_ledger(back).keys() == as_of_second().keys()
