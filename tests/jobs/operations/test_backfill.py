"""What a backfill finds to do; the nights themselves are in tests/scenarios/test_backfill_nights.py."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import MoonError, NightStoppedError
from jobs.operations.backfill import Day, Outlook, date_range, finished_nights, gpus, outlook
from jobs.operations.row_filter import WhereError
from jobs.state.model_registry import ModelChoice

MODEL = ModelChoice("/checkpoint", "a" * 64, "d" * 16, dimension=4, max_images=2, collection="moon_a")


@given(st.dates(max_value=datetime(9999, 1, 1).date()), st.integers(0, 300))
def test_a_range_holds_every_day_once_in_order(first, length):
    last = first.fromordinal(first.toordinal() + length)
    days = date_range(first.isoformat(), last.isoformat())
    assert (days[0], days[-1], len(days)) == (first.isoformat(), last.isoformat(), length + 1)
    assert sorted(set(days)) == days


@pytest.mark.parametrize(("first", "last"), [("2026-01-02", "2026-01-01"), ("1900-01-01", "2026-01-01")])
def test_a_slip_in_the_range_is_told(first, last):
    with pytest.raises(MoonError, match="earlier date"):
        date_range(first, last)


def test_a_night_is_finished_by_a_successful_report_of_the_served_model(make_night, seed):
    night = make_night()
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
        seed(night.lake, "runs", [base | changes], {"date": date})
    assert finished_nights(night, MODEL) == {"2026-01-01"}


def test_hours_are_summed_and_unknown_stays_unknown():
    days = (Day("2026-01-01", "due", 10, 20, 1800.0), Day("2026-01-02", "finished", seconds=0.0))
    ahead = Outlook(MODEL, days, gpus=2)
    assert (ahead.due, ahead.seconds, ahead.document()["gpu_hours"]) == (["2026-01-01"], 1800.0, 1.0)
    unknown = Outlook(MODEL, (*days, Day("2026-01-03", "due", 1, 1, None)), gpus=2).document()
    assert (unknown["seconds"], unknown["gpu_hours"], unknown["products"]) == (None, None, 11)


def test_nothing_to_re_embed_and_nothing_to_pull_from(make_night, tiny_checkpoint):
    night = make_night()
    with pytest.raises(NightStoppedError, match="holds no snapshot from 2026-01-01 to 2026-01-02"):
        outlook(night, ["2026-01-01", "2026-01-02"], str(tiny_checkpoint))
    with pytest.raises(NightStoppedError, match="--catalog"):
        outlook(make_night(model=str(tiny_checkpoint)), ["2026-01-01"])
    with pytest.raises(WhereError):
        outlook(night, ["2026-01-01"], str(tiny_checkpoint), "price > 1")


def test_one_catalogue_cannot_be_several_days(make_night, tiny_checkpoint, tmp_path):
    (tmp_path / "mapping.toml").write_text('id = "id"\ntitle = "title"\nimages = "image"\n')
    night = make_night(catalog=str(tmp_path / "all.csv"), model=str(tiny_checkpoint))
    with pytest.raises(NightStoppedError, match=r"write \{date\} where"):
        outlook(night, ["2026-01-01", "2026-01-02"])


def test_without_a_gpu_there_are_none(spark):
    import torch

    assert gpus(spark) == int(torch.cuda.is_available())
