"""Tests of ``moon nightly``: its dates and the JSON document that it prints."""

import typer
from hypothesis import given
from hypothesis import strategies as st
from pytest import raises

from jobs.commands.nightly import build_run_document, parse_snapshot_date
from jobs.settings import Settings
from jobs.stages.runner import RunOutcome
from jobs.state.run_context import StageResult

SETTINGS = Settings(_env_file=None)


@given(st.dates())
def test_iso_dates_pass(day) -> None:
    assert parse_snapshot_date(day.isoformat(), SETTINGS) == day.isoformat()


def test_other_dates_do_not() -> None:
    for text in ("20261122", "2026-11-31", "tomorrow", "2026-W01-1"):
        with raises(typer.BadParameter):
            parse_snapshot_date(text, SETTINGS)
    assert len(parse_snapshot_date(None, SETTINGS)) == 10


def test_the_document_is_the_reports_or_the_plans() -> None:
    details = {"run_id": "r", "model": "m", "collection": "c", "report": "/x.html"}
    outcome = RunOutcome({"plan": StageResult({"new": 3}, details)}, {"plan": 0.5})
    dry = {"run_id": "r", "date": "2026-11-22", "rows": {"new": 3}, "seconds": {"plan": 0.5}}
    assert build_run_document("2026-11-22", outcome) == {**dry, "model": "m", "collection": "c"}
    outcome.results["report"] = StageResult({"encoded": 3}, details)
    assert build_run_document("2026-11-22", outcome)["rows"] == {"encoded": 3}
