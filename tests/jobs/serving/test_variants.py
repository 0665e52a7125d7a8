"""Tests of one hit per group: exact for any groups, and no more is fetched than needed."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from jobs.milvus.capabilities import TIERS
from jobs.serving import variants
from jobs.serving.variants import find_one_per_group

LITE, UNPROVED = TIERS["lite-3.2"], TIERS["server-2.6"]


class Shelf:
    """Products in the order in which a search finds them."""

    def __init__(self, groups: list[str]) -> None:
        self.hits = [{"product_id": f"p{number}", "group_id": group} for number, group in enumerate(groups)]
        self.asked: list[tuple[int, str]] = []

    def __call__(self, k: int, group_by: str = "") -> list[dict[str, Any]]:
        self.asked.append((k, group_by))
        return self.hits[:k]


@given(st.lists(st.sampled_from("abcdefgh") | st.just("")), st.integers(1, 12))
def test_the_first_of_each_group_in_order(groups: list[str], k: int) -> None:
    shelf = Shelf(groups)
    found = find_one_per_group(shelf, k, LITE)
    best: dict[str, str] = {}
    for hit in shelf.hits:
        best.setdefault(hit["group_id"] or hit["product_id"], hit["product_id"])
    assert [hit["product_id"] for hit in found] == list(best.values())[:k]


def test_more_is_fetched_until_there_are_enough_groups(caplog) -> None:
    shelf = Shelf(["big"] * 100 + ["b", "c", "d"])
    assert [hit["group_id"] for hit in find_one_per_group(shelf, 3, LITE)] == ["big", "b", "c"]
    assert shelf.asked == [(12, ""), (48, ""), (192, "")]
    only = Shelf(["one"] * (variants.MAX_FETCHED + 1))
    assert len(find_one_per_group(only, 2, LITE)) == 1
    assert only.asked[-1] == (variants.MAX_FETCHED, "") and "belong to 1 groups only" in caplog.text


def test_a_tier_that_groups_is_asked_once() -> None:
    shelf = Shelf(["a", "b", "c"])
    assert len(find_one_per_group(shelf, 2, UNPROVED)) == 2
    assert shelf.asked == [(2, "group_id")]
