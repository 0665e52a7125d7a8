"""The hold: found by whoever opens the lake, ended by a release, and in the way of nights only."""

from datetime import UTC, datetime, timedelta

import pytest

from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.state.hold import NightHeldError, check_not_held, current_hold, hold, release


def test_nights_are_held_until_they_are_released(tmp_path) -> None:
    lake = Lake(Storage(str(tmp_path / "lake")))
    assert current_hold(lake) is None and release(lake, "x") is None
    check_not_held(lake)

    held = hold(lake, "2026-01-02", "half the photos were black", "ann@host")
    assert datetime.now(UTC) - held.since < timedelta(minutes=1)
    elsewhere = Lake(Storage(str(tmp_path / "lake")))
    assert current_hold(elsewhere) == held
    assert held.as_dict()["restored"] == "2026-01-02"
    with pytest.raises(NightHeldError, match=r"ann@host restored .*2026-01-02 \(half the photos.*`moon release`"):
        check_not_held(elsewhere)
    hold(lake, "2026-01-01", "", "ben@host")
    with pytest.raises(NightHeldError, match=r"ben@host .*2026-01-01 \(no reason given\)"):
        check_not_held(lake)

    assert release(elsewhere, "cleo@host").by == "ben@host"
    assert current_hold(lake) is None
    check_not_held(lake)
    assert lake.count("holds", {}) == 1, "the last word only; the history is in `runs`"


def test_a_hold_stops_a_retry_of_the_scheduler() -> None:
    assert NightHeldError.exit_status == 3
