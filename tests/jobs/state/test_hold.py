"""Tests of the hold: every reader of the lake finds it, a release ends it, and it stops only nightly runs."""

from datetime import UTC, datetime, timedelta

import pytest

from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.state.hold import RunsHeldError, check_not_held, hold_runs, read_hold, release_hold


def test_nights_are_held_until_they_are_released(tmp_path) -> None:
    lake = Lake(Storage(str(tmp_path / "lake")))
    assert read_hold(lake) is None and release_hold(lake, "x") is None
    check_not_held(lake)

    held = hold_runs(lake, "2026-01-02", "half the photos were black", "ann@host")
    assert datetime.now(UTC) - held.since < timedelta(minutes=1)
    elsewhere = Lake(Storage(str(tmp_path / "lake")))
    assert read_hold(elsewhere) == held
    assert held.as_dict()["restored"] == "2026-01-02"
    with pytest.raises(RunsHeldError, match=r"ann@host restored .*2026-01-02 \(half the photos.*`moon release`"):
        check_not_held(elsewhere)
    hold_runs(lake, "2026-01-01", "", "ben@host")
    with pytest.raises(RunsHeldError, match=r"ben@host .*2026-01-01 \(no reason given\)"):
        check_not_held(lake)

    assert release_hold(elsewhere, "cleo@host").by == "ben@host"
    assert read_hold(lake) is None
    check_not_held(lake)
    assert lake.count("holds", {}) == 1, "the last word only; the history is in `runs`"


def test_a_hold_stops_a_retry_of_the_scheduler() -> None:
    assert RunsHeldError.exit_status == 3
