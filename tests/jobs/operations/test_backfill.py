"""Tests of the dates that a backfill selects; tests/scenarios/test_backfill_nights.py tests their runs."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import MoonError, NightStoppedError
from jobs.operations.backfill import (
    BackfillDay,
    BackfillPlan,
    count_gpus,
    find_finished_dates,
    list_dates,
    plan_backfill,
)
from jobs.operations.row_filter import RowFilterError
from jobs.state.model_registry import ModelChoice

MODEL = ModelChoice("/checkpoint", "a" * 64, "d" * 16, dimension=4, max_images=2, collection="moon_a")


@given(st.dates(max_value=datetime(9999, 1, 1).date()), st.integers(0, 300))
def test_a_range_holds_every_day_once_in_order(first, length):
    last = first.fromordinal(first.toordinal() + length)
    days = list_dates(first.isoformat(), last.isoformat())
    assert (days[0], days[-1], len(days)) == (first.isoformat(), last.isoformat(), length + 1)
    assert sorted(set(days)) == days


@pytest.mark.parametrize(("first", "last"), [("2026-01-02", "2026-01-01"), ("1900-01-01", "2026-01-01")])
def test_a_slip_in_the_range_is_told(first, last):
    with pytest.raises(MoonError, match="earlier date"):
        list_dates(first, last)


def test_a_night_is_finished_by_a_successful_report_of_the_served_model(make_night, seed):
    context = make_night()
    base = {"run_id": "r", "stage": "report", "outcome": "success", "seconds": 1.0, "counts": []}
    base |= {"finished_at": datetime(2026, 1, 9, tzinfo=UTC)}
    served = [("model", MODEL.model_version), ("collection", "moon_a")]
    other = [("model", "b" * 64), ("collection", "moon_b")]
    for date, changes in {
        "2026-01-01": {"details": served},
        "2026-01-02": {"details": other},
        "2026-01-03": {"details": served, "outcome": "failed"},
        "2026-01-04": {"details": served, "stage": "upsert"},
    }.items():
        seed(context.lake, "runs", [base | changes], {"date": date})
    assert find_finished_dates(context, MODEL) == {"2026-01-01"}


def test_hours_are_summed_and_unknown_stays_unknown():
    days = (BackfillDay("2026-01-01", "due", 10, 20, 1800.0), BackfillDay("2026-01-02", "finished", seconds=0.0))
    ahead = BackfillPlan(MODEL, days, gpus=2)
    assert (ahead.due_dates, ahead.seconds, ahead.document()["gpu_hours"]) == (["2026-01-01"], 1800.0, 1.0)
    unknown = BackfillPlan(MODEL, (*days, BackfillDay("2026-01-03", "due", 1, 1, None)), gpus=2).document()
    assert (unknown["seconds"], unknown["gpu_hours"], unknown["products"]) == (None, None, 11)


def test_nothing_to_re_embed_and_nothing_to_pull_from(make_night, tiny_checkpoint):
    context = make_night()
    with pytest.raises(NightStoppedError, match="holds no snapshot from 2026-01-01 to 2026-01-02"):
        plan_backfill(context, ["2026-01-01", "2026-01-02"], str(tiny_checkpoint))
    with pytest.raises(NightStoppedError, match="--catalog"):
        plan_backfill(make_night(model=str(tiny_checkpoint)), ["2026-01-01"])
    with pytest.raises(RowFilterError):
        plan_backfill(context, ["2026-01-01"], str(tiny_checkpoint), "price > 1")


def test_one_catalogue_cannot_be_several_days(make_night, tiny_checkpoint, tmp_path):
    (tmp_path / "mapping.toml").write_text('id = "id"\ntitle = "title"\nimages = "image"\n')
    context = make_night(catalog=str(tmp_path / "all.csv"), model=str(tiny_checkpoint))
    with pytest.raises(NightStoppedError, match=r"write \{date\} where"):
        plan_backfill(context, ["2026-01-01", "2026-01-02"])


def test_without_a_gpu_there_are_none(spark):
    import torch

    assert count_gpus(spark) == int(torch.cuda.is_available())
