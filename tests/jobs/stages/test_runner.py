"""Tests that stages run in order and write rows in `runs`, also for failures."""

import pytest
from pyspark.errors import PythonException

from jobs.errors import MoonError, NightStoppedError
from jobs.stages.runner import NIGHTLY_STAGES, STAGE_GROUPS, STAGES, run_stages
from jobs.state.run_context import RunContext, StageResult


def test_every_stage_is_a_function_of_its_own_module() -> None:
    assert NIGHTLY_STAGES[0] == "pull" and NIGHTLY_STAGES[-1] == "report"
    assert set(STAGE_GROUPS) == {"prepare", "infer", "serve"}
    for name in NIGHTLY_STAGES:
        function = STAGES[name]
        assert (function.__module__, function.__name__) == (f"jobs.stages.{name}", name)


def test_a_failing_stage_is_recorded_and_ends_the_run(make_night, tmp_path) -> None:
    context = make_night("2026-01-02", catalog=str(tmp_path / "nothing.jsonl"))
    with pytest.raises(MoonError, match=r"nothing\.jsonl"):
        run_stages(context, STAGE_GROUPS["prepare"])
    (row,) = context.lake.read_arrow("runs").to_pylist()
    assert (row["stage"], row["outcome"], row["run_id"]) == ("pull", "failed", "")
    assert "nothing.jsonl" in dict(row["details"])["error"]


def test_a_lake_that_cannot_be_written_does_not_hide_why_a_run_stopped(make_night, tmp_path, monkeypatch) -> None:
    context = make_night("2026-01-02", catalog=str(tmp_path / "nothing.jsonl"))

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jobs.stages.runner.record_runs", refuse)
    with pytest.raises(NightStoppedError, match=r"nothing\.jsonl"):
        run_stages(context, STAGE_GROUPS["prepare"])


def test_a_failure_of_a_task_is_recorded_without_its_traceback(make_night, monkeypatch) -> None:
    context = make_night("2026-01-02")

    def fail(context: RunContext, plan: None) -> StageResult:
        def task(batches):
            yield from batches
            raise ValueError("a broken row")

        context.spark.range(1).mapInArrow(task, "id long").collect()
        return StageResult()

    monkeypatch.setitem(STAGES, "pull", fail)
    with pytest.raises(PythonException):
        run_stages(context, ["pull"])
    (row,) = context.lake.read_arrow("runs").to_pylist()
    assert dict(row["details"])["error"] == "ValueError: a broken row"
