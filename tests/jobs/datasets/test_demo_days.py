from itertools import pairwise

import pytest

from demo_shop import DemoWorld
from jobs.datasets.demo_days import DailyShares, Listing, PhotoRef, iter_listings

WORLD = DemoWorld(3)


def test_days_do_not_depend_on_how_many_follow() -> None:
    assert list(iter_listings(WORLD, 60, 4, DailyShares()))[:2] == list(iter_listings(WORLD, 60, 2, DailyShares()))


def test_the_set_shares_change_appear_and_disappear() -> None:
    shares = DailyShares(change=0.1, appear=0.05, disappear=0.03)
    first, second = iter_listings(WORLD, 200, 2, shares)
    before, after = ({listing.index: listing for listing in day} for day in (first, second))
    assert [listing.index for listing in first] == list(range(200))
    assert len(before.keys() - after.keys()) == 6
    assert sorted(after.keys() - before.keys()) == list(range(200, 210))
    changed = [index for index in before.keys() & after.keys() if before[index] != after[index]]
    assert len(changed) == 19
    fields = ("title_revision", "attribute_revision", "photo_revisions")
    kinds = {tuple(getattr(before[i], name) != getattr(after[i], name) for name in fields) for i in changed}
    assert kinds == {(True, False, False), (False, True, False), (False, False, True)}


def test_every_change_shows_in_the_row() -> None:
    days = list(iter_listings(WORLD, 80, 5, DailyShares(change=0.2)))
    for yesterday, today in pairwise(days):
        before = {listing.index: listing for listing in yesterday}
        for listing in today:
            old = before.get(listing.index)
            if old is not None and old != listing:
                assert listing.row(WORLD) != old.row(WORLD)


def test_gone_products_never_come_back_and_new_ones_are_new() -> None:
    gone: set[int] = set()
    seen: set[int] = set()
    for day in iter_listings(WORLD, 40, 8, DailyShares(0.0, 0.1, 0.1)):
        indices = {listing.index for listing in day}
        assert not indices & gone
        gone |= seen - indices
        seen |= indices
    assert gone


def test_no_shares_no_change() -> None:
    first, second = iter_listings(WORLD, 10, 2, DailyShares(0, 0, 0))
    assert first == second


def test_rows_name_a_photo_and_a_version_each() -> None:
    row = Listing(4, photo_revisions={0: 2}).row(WORLD)
    assert len(row["images"]) == len(row["image_versions"]) == WORLD.get_product(4).images
    assert row["images"][0] == PhotoRef(4, 0, 2).path(WORLD) == "images/demo-3-000004-0-r2.jpg"
    assert row["image_versions"][0] == "3"


@pytest.mark.parametrize("name", ["change", "appear", "disappear"])
def test_a_share_is_a_share(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        DailyShares(**{name: 1.5})
