"""Tests of marks and churn; the search itself is tested with Milvus in test_run_pictures."""

import pytest

from jobs.pages.neighbours import ENTERED, LEFT, STAYED, list_recorded, mark_neighbours, measure_stayed
from jobs.pages.run_record import RunRecord
from tests.jobs.pages.page_parts import draw_unit_vectors, make_sample

HITS = {"p0": [("p1", 0.9), ("p2", 0.8)], "p1": [("p0", 0.9)]}


def make_record(neighbours: dict[str, list[str]]) -> RunRecord:
    return RunRecord("r", "2026-01-01", "c", "m", 1, neighbours)


def test_neighbours_are_marked_by_the_run_before() -> None:
    sample = make_sample(draw_unit_vectors(3), ["Bags"] * 3, HITS, title="Bag")
    found = mark_neighbours(sample, "p0", make_record({"p0": ["gone", "p2"]}))
    assert [(one.product_id, one.title, one.score, one.mark) for one in found] == [
        ("p1", "Bag p1", 0.9, ENTERED), ("p2", "Bag p2", 0.8, STAYED), ("gone", "", None, LEFT),
    ]  # fmt: skip
    for before in (None, make_record({"p1": ["p0"]})):
        assert {one.mark for one in mark_neighbours(sample, "p0", before)} == {""}


def test_the_share_that_stayed_is_over_products_of_both_runs() -> None:
    sample = make_sample(draw_unit_vectors(2), ["Bags"] * 2, HITS)
    assert measure_stayed(sample, None) is None
    assert measure_stayed(sample, make_record({"p9": ["p0"], "p0": []})) is None
    before = make_record({"p0": ["p2", "p7", "p8", "p9"], "p1": ["p0"], "p9": ["p0"]})
    assert measure_stayed(sample, before) == pytest.approx((0.25 + 1) / 2)
    assert list_recorded(sample) == {"p0": ["p1", "p2"], "p1": ["p0"]}
