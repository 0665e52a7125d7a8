"""Tests of drift: what is measured, what is called large, and what is not compared."""

from datetime import UTC, datetime

import numpy as np

from jobs.pages.drift import ChangeCounts, draw_drift, list_drift, measure_categories, measure_shift
from jobs.pages.run_record import EarlierRecords, RunRecord
from jobs.state.plan_record import Plan
from tests.jobs.pages.page_parts import EVIL, FragmentReader, draw_unit_vectors, make_sample

MODEL = "a" * 64


def make_plan() -> Plan:
    return Plan("2026-01-09", "run 2", MODEL, "d", "c", 1, True, planned_at=datetime(2026, 1, 9, tzinfo=UTC))


def measure(centre: tuple[float, ...], seed: int, count: int = 40):
    sample = make_sample(draw_unit_vectors(count, centre=centre, seed=seed), [EVIL] * count)
    return measure_categories(sample)


def make_record(**fields) -> RunRecord:
    return RunRecord(**{"run_id": "run 1", "date": "2026-01-08", "collection": "c", "model_version": MODEL,
                        "ledger_version": 1, **fields})  # fmt: skip


def test_means_are_of_the_products_of_a_category_and_products_without_one_are_left_out():
    vectors = np.eye(4, dtype=np.float32)
    found = measure_categories(make_sample(vectors, ["Bags", "", "Bags", "Hats"]))
    assert list(found) == ["Bags", "Hats"]
    assert (found["Bags"].products, found["Bags"].mean) == (2, [0.5, 0.0, 0.5, 0.0])


def test_other_products_of_the_same_kind_are_no_large_shift_and_another_kind_is():
    old = measure((1.0, 0.0, 0.0, 0.0), seed=1)[EVIL]
    shifts = [measure_shift(measure((1.0, 0.0, 0.0, 0.0), seed)[EVIL], old) for seed in range(2, 30)]
    assert sum(shift.is_large for shift in shifts) == 0
    moved = measure_shift(measure((0.0, 1.0, 0.0, 0.0), seed=2)[EVIL], old)
    assert moved.is_large and moved.distance > 0.4
    same = measure_shift(old, old)
    assert same.distance == 0 and not same.is_large
    assert measure_shift(measure((1.0, 0.0, 0.0, 0.0), seed=1, count=7)[EVIL], old) is None


def test_vectors_of_another_model_are_not_compared():
    means = measure((1.0, 0.0, 0.0, 0.0), seed=1)
    earlier = EarlierRecords(make_record(categories=means), make_record(categories=means, model_version="b" * 64))
    [row] = list_drift(means, {EVIL: ChangeCounts(50, 1, 2)}, make_plan(), earlier)
    assert row.since_last.distance == 0 and row.since_week is None
    page = FragmentReader(draw_drift([row], make_plan(), earlier))
    assert EVIL in page.texts and page.count("script") == 0
    assert any("another model" in text for text in page.texts)
    assert "2.0%" in page.texts and "4.0%" in page.texts


def test_a_large_shift_is_named():
    means, moved = measure((1.0, 0.0, 0.0, 0.0), seed=1), measure((0.0, 1.0, 0.0, 0.0), seed=2)
    earlier = EarlierRecords(make_record(categories=means))
    page = FragmentReader(draw_drift(list_drift(moved, {}, make_plan(), earlier), make_plan(), earlier))
    assert "large" in page.texts and "2026-01-08" in page.texts
