from datetime import UTC, datetime, timedelta

import pytest

from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.stages.estimate import (
    MAX_RUNS,
    FetchEstimate,
    WorkEstimate,
    estimate_run,
    measure_photos_a_second,
    measure_seconds_per_unit,
)
from jobs.state.plan_record import PlanCounts

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path):
    return Lake(Storage(str(tmp_path)))


@pytest.fixture
def record(lake, seed):
    def write(stage, seconds, counts, *, outcome="success", model="m", hour=0, **details):
        row = {"run_id": "r", "stage": stage, "outcome": outcome, "seconds": seconds}
        row |= {"counts": list(counts.items()), "details": [("model", model), *details.items()]}
        seed(lake, "runs", [{**row, "finished_at": START + timedelta(hours=hour)}], {"date": "2026-01-01"})

    return write


def test_before_the_first_measured_night(lake, record):
    assert estimate_run(lake, "m", PlanCounts(new=3, images=5)) == WorkEstimate(3, 5, None)
    record("encode", 10.0, {"products": 100})
    assert estimate_run(lake, "m", PlanCounts(new=3, images=5)).seconds is None  # detection was not measured yet


def test_rates_are_summed_over_runs_that_worked(lake, record):
    record("encode", 30.0, {"products": 100})
    record("encode", 10.0, {"products": 800}, resumed="500")  # the rest was encoded before the run was killed
    record("encode", 5.0, {"encoded": 300})  # found committed: nothing was done
    record("encode", 5.0, {"products": 0})
    record("encode", 900.0, {"products": 1}, outcome="failed")
    record("encode", 900.0, {"products": 1}, model="another")
    record("detect", 20.0, {"images": 1000})
    assert measure_seconds_per_unit(lake, "m") == pytest.approx({"encode": 0.1, "detect": 0.02})
    assert estimate_run(lake, "m", PlanCounts(new=50, images=100)).seconds == pytest.approx(7.0)


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
        (WorkEstimate(0, 0, 3.0, 7000), "nothing to encode; 7,000 products get new payload values"),
        (WorkEstimate(1200, 2400, None), "1,200 products with 2,400 images to encode; no earlier night was measured"),
        (WorkEstimate(10, 20, 71.4), "about 71 s by earlier nights"),
        (WorkEstimate(10, 20, 600.0), "about 10 min"),
        (WorkEstimate(10, 20, 7200.0), "about 2.0 h"),
    ],
)
def test_words(given, words):
    assert words in str(given)


def test_the_rate_of_fetching_is_that_of_runs_that_had_answers(lake, record):
    assert measure_photos_a_second(lake) is None
    record("fetch", 10.0, {"wanted": 900, "fetched": 900, "answered": 900})
    record("fetch", 20.0, {"wanted": 900, "stored": 600, "not_modified": 300, "answered": 300})
    record("fetch", 500.0, {"wanted": 900, "stored": 900, "answered": 0})
    record("fetch", 500.0, {"wanted": 900, "stored": 900})  # found committed
    assert measure_photos_a_second(lake) == pytest.approx(40.0)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (FetchEstimate(0, 0), "no photos by URL to ask for"),
        (
            FetchEstimate(1_000_000, 1_000_000),
            "1,000,000 photos by URL to ask for, about 190.7 GiB (200 KiB each, assumed), about 5.6 h (50 a second, "
            "assumed)",
        ),
        (
            FetchEstimate(1000, 100, 51_200.0, 20.0),
            "1,000 photos by URL to ask for, 900 of them known, about 4.9 MiB (50 KiB each, measured), about 50 s "
            "(20 a second, measured)",
        ),
    ],
)
def test_words_of_a_fetch(given, words):
    assert str(given) == words
