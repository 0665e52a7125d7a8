"""Tests of a run's partition and of the default of a stage's result."""

from jobs.state.run_context import StageResult


def test_the_partition_is_the_date(make_night) -> None:
    context = make_night("2026-01-02")
    assert context.partition == {"date": "2026-01-02"}
    assert (context.allow_deletes, context.reason) == (None, "")


def test_a_stage_may_say_nothing() -> None:
    assert StageResult() == StageResult({}, {})
