"""The date of a run: laws over time zones, offsets and kinds of runs."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dags.snapshot_date import MACROS, TEMPLATE, snapshot_date

MOMENTS = st.datetimes(datetime(2000, 1, 2), datetime(2100, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))
ZONES = st.sampled_from(sorted(available_timezones()))
OFFSETS = st.integers(0, 40)


def a_run(logical_date, run_after):
    return SimpleNamespace(logical_date=logical_date, run_after=run_after)


def dated(logical_date, run_after, zone="UTC", offset=0, **params):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOON_TIMEZONE", zone)
        patch.setenv("MOON_SNAPSHOT_OFFSET_DAYS", str(offset))
        return snapshot_date(params, a_run(logical_date, run_after))


@given(MOMENTS, ZONES, OFFSETS)
def test_a_scheduled_run_has_the_shops_own_day_less_the_offset(moment, zone, offset):
    local = moment.astimezone(ZoneInfo(zone))
    expected = date(local.year, local.month, local.day) - timedelta(days=offset)
    assert dated(moment, moment + timedelta(hours=3), zone, offset) == expected.isoformat()


@given(MOMENTS, ZONES, OFFSETS)
def test_a_run_by_hand_takes_the_time_it_may_start_at(moment, zone, offset):
    assert dated(None, moment, zone, offset) == dated(moment, moment, zone, offset)


@given(MOMENTS, ZONES, OFFSETS, st.dates())
def test_the_parameter_beats_everything(moment, zone, offset, day):
    assert dated(moment, moment, zone, offset, date=day.isoformat()) == day.isoformat()


@given(MOMENTS, MOMENTS, ZONES, OFFSETS)
def test_later_runs_never_get_earlier_dates(one, other, zone, offset):
    first, second = sorted((one, other))
    assert dated(first, first, zone, offset) <= dated(second, second, zone, offset)


@given(st.dates(date(2000, 1, 2), date(2099, 1, 1)), ZONES)
def test_a_backfill_of_nights_at_two_gives_every_date_once(first, zone):
    nights = [datetime(day.year, day.month, day.day, 2, tzinfo=ZoneInfo(zone)) for day in days(first, 4)]
    got = [dated(night.astimezone(UTC), datetime.now(UTC), zone) for night in nights]
    assert len(set(got)) == 4 or skips_a_day(zone, first)


def days(first, count):
    return [first + timedelta(days=number) for number in range(count)]


def skips_a_day(zone, first):
    """Samoa and Kwajalein once jumped over the date line: the local day does not exist."""
    local = [datetime(day.year, day.month, day.day, 2, tzinfo=ZoneInfo(zone)).astimezone(UTC) for day in days(first, 4)]
    return any(second - one < timedelta(hours=12) for one, second in pairwise(local))


@pytest.mark.parametrize("params", [{}, {"date": None}, {"date": ""}])
def test_no_parameter_means_the_runs_own_day(params):
    moment = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
    assert dated(moment, moment, "Asia/Tokyo", **params) == "2026-03-02"


def test_a_parameter_that_is_no_date_is_refused():
    with pytest.raises(ValueError, match="isoformat"):
        dated(None, datetime.now(UTC), date="01.03.2026")


def test_the_template_calls_the_helper():
    import jinja2

    run = a_run(None, datetime(2026, 3, 1, tzinfo=UTC))
    assert jinja2.Template(TEMPLATE).render(params={}, dag_run=run, **MACROS) == "2026-03-01"
