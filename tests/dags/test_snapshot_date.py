"""Tests of the snapshot date of a run: properties over time zones, offsets and kinds of runs."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dags.snapshot_date import MACROS, SNAPSHOT_DATE_TEMPLATE, compute_snapshot_date

MOMENTS = st.datetimes(datetime(2000, 1, 2), datetime(2100, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))
ZONES = st.sampled_from(sorted(available_timezones()))
OFFSETS = st.integers(0, 40)


def make_run(logical_date, run_after):
    return SimpleNamespace(logical_date=logical_date, run_after=run_after)


def compute_date(logical_date, run_after, zone="UTC", offset=0, **params):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOON_TIMEZONE", zone)
        patch.setenv("MOON_SNAPSHOT_OFFSET_DAYS", str(offset))
        return compute_snapshot_date(params, make_run(logical_date, run_after))


@given(MOMENTS, ZONES, OFFSETS)
def test_a_scheduled_run_has_the_shops_local_day_minus_the_offset(moment, zone, offset):
    local = moment.astimezone(ZoneInfo(zone))
    expected = date(local.year, local.month, local.day) - timedelta(days=offset)
    assert compute_date(moment, moment + timedelta(hours=3), zone, offset) == expected.isoformat()


@given(MOMENTS, ZONES, OFFSETS)
def test_a_run_without_logical_date_uses_its_earliest_start(moment, zone, offset):
    assert compute_date(None, moment, zone, offset) == compute_date(moment, moment, zone, offset)


@given(MOMENTS, ZONES, OFFSETS, st.dates())
def test_the_parameter_overrides_everything(moment, zone, offset, day):
    assert compute_date(moment, moment, zone, offset, date=day.isoformat()) == day.isoformat()


@given(MOMENTS, MOMENTS, ZONES, OFFSETS)
def test_later_runs_never_get_earlier_dates(one, other, zone, offset):
    first, second = sorted((one, other))
    assert compute_date(first, first, zone, offset) <= compute_date(second, second, zone, offset)


@given(st.dates(date(2000, 1, 2), date(2099, 1, 1)), ZONES)
def test_a_backfill_of_runs_at_two_gives_every_date_once(first, zone):
    starts = [datetime(day.year, day.month, day.day, 2, tzinfo=ZoneInfo(zone)) for day in list_days(first, 4)]
    got = [compute_date(start.astimezone(UTC), datetime.now(UTC), zone) for start in starts]
    assert len(set(got)) == 4 or has_skipped_day(zone, first)


def list_days(first, count):
    return [first + timedelta(days=number) for number in range(count)]


def has_skipped_day(zone, first):
    """Return whether a local day is missing: Samoa and Kwajalein once moved across the date line."""
    local = [
        datetime(day.year, day.month, day.day, 2, tzinfo=ZoneInfo(zone)).astimezone(UTC) for day in list_days(first, 4)
    ]
    return any(second - one < timedelta(hours=12) for one, second in pairwise(local))


@pytest.mark.parametrize("params", [{}, {"date": None}, {"date": ""}])
def test_without_the_parameter_the_day_of_the_run_is_used(params):
    moment = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
    assert compute_date(moment, moment, "Asia/Tokyo", **params) == "2026-03-02"


def test_a_parameter_that_is_no_date_is_refused():
    with pytest.raises(ValueError, match="isoformat"):
        compute_date(None, datetime.now(UTC), date="01.03.2026")


def test_the_template_calls_the_helper():
    import jinja2

    run = make_run(None, datetime(2026, 3, 1, tzinfo=UTC))
    assert jinja2.Template(SNAPSHOT_DATE_TEMPLATE).render(params={}, dag_run=run, **MACROS) == "2026-03-01"
