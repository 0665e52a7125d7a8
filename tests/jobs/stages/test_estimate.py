from datetime import UTC, datetime, timedelta

import pytest

from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.stages.estimate import MAX_RUNS, WorkEstimate, estimate_run, measure_seconds_per_unit

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path):
    return Lake(Storage(str(tmp_path)))


@pytest.fixture
def record(lake, seed):
    def write(stage, seconds, counts, *, outcome="success", model="m", hour=0):
        row = {"run_id": "r", "stage": stage, "outcome": outcome, "seconds": seconds}
        row |= {"counts": list(counts.items()), "details": [("model", model)]}
        seed(lake, "runs", [{**row, "finished_at": START + timedelta(hours=hour)}], {"date": "2026-01-01"})

    return write


def test_before_the_first_measured_night(lake, record):
    assert estimate_run(lake, "m", 3, 5) == WorkEstimate(3, 5, None)
    record("encode", 10.0, {"products": 100})
    assert estimate_run(lake, "m", 3, 5).seconds is None  # detection was not measured yet


def test_rates_are_summed_over_runs_that_worked(lake, record):
    record("encode", 30.0, {"products": 100})
    record("encode", 10.0, {"products": 300})
    record("encode", 5.0, {"encoded": 300})  # found committed: nothing was done
    record("encode", 5.0, {"products": 0})
    record("encode", 900.0, {"products": 1}, outcome="failed")
    record("encode", 900.0, {"products": 1}, model="another")
    record("detect", 20.0, {"images": 1000})
    assert measure_seconds_per_unit(lake, "m") == pytest.approx({"encode": 0.1, "detect": 0.02})
    assert estimate_run(lake, "m", 50, 100).seconds == pytest.approx(7.0)


def test_detection_counts_for_every_model(lake, record):
    record("encode", 30.0, {"products": 100}, model="new")
    record("detect", 20.0, {"images": 1000}, model="old")
    assert measure_seconds_per_unit(lake, "new") == pytest.approx({"encode": 0.3, "detect": 0.02})


def test_only_the_latest_runs_count(lake, record):
    record("detect", 1000.0, {"images": 1}, hour=0)
    for hour in range(1, MAX_RUNS + 1):
        record("detect", 1.0, {"images": 1}, hour=hour)
    assert measure_seconds_per_unit(lake, "m") == {"detect": 1.0}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (WorkEstimate(0, 0, 3.0), "nothing to encode"),
        (WorkEstimate(1200, 2400, None), "1,200 products with 2,400 images to encode; no earlier night was measured"),
        (WorkEstimate(10, 20, 71.4), "about 71 s by earlier nights"),
        (WorkEstimate(10, 20, 600.0), "about 10 min"),
        (WorkEstimate(10, 20, 7200.0), "about 2.0 h"),
    ],
)
def test_words(given, words):
    assert words in str(given)
