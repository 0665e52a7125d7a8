"""Tests that stages run in order and write rows in `runs`, also for failures."""

from pathlib import Path

import pytest
from pyspark.errors import PythonException

from jobs.errors import REPORT_NOTE, MoonError, NightStoppedError
from jobs.stages.runner import NIGHTLY_STAGES, STAGE_GROUPS, STAGES, run_stages
from jobs.state.run_context import RunContext, StageResult
from tests.jobs.pages.page_reader import PageReader
from tests.jobs.pages.report_pages import record_killed_run


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
    failed, start = sorted(context.lake.read_arrow("runs").to_pylist(), key=lambda row: row["stage"])
    assert (failed["stage"], failed["outcome"], failed["run_id"]) == ("pull", "failed", "")
    details = dict(failed["details"])
    assert "nothing.jsonl" in details["error"]
    assert (details["error_type"], details["exit_status"]) == ("NightStoppedError", "3")
    assert (start["stage"], start["outcome"]) == ("run", "started")
    assert dict(start["details"])["stages"] == "pull validate fetch plan"
    assert dict(start["details"])["execution"] == details["execution"]


def test_a_stopped_run_writes_its_page_and_the_error_names_it(make_night, tmp_path) -> None:
    context = make_night("2026-01-02", catalog=str(tmp_path / "nothing.jsonl"))
    record_killed_run(context.lake, "2026-01-01")
    with pytest.raises(NightStoppedError) as caught:
        run_stages(context, STAGE_GROUPS["prepare"])
    (note,) = caught.value.__notes__
    killed, stopped = sorted((tmp_path / "lake" / "_reports").glob("2026*/*.html"))
    assert note == f"{REPORT_NOTE}{stopped}"
    page = PageReader(stopped.read_text())
    page.check()
    assert "Stopped in pull at" in page.text and "Nothing is served yet." in page.text
    assert "moon nightly --date 2026-01-02" in page.text
    assert "Killed during pull" in killed.read_text(), "written by the run after it"


def test_a_page_that_cannot_be_written_hides_no_failure(make_night, tmp_path, monkeypatch) -> None:
    context = make_night("2026-01-02", catalog=str(tmp_path / "nothing.jsonl"))
    Path(context.settings.lake).mkdir()
    (Path(context.settings.lake) / "_reports").write_text("a file in the place of the folder")
    with pytest.raises(NightStoppedError, match=r"nothing\.jsonl") as caught:
        run_stages(context, STAGE_GROUPS["prepare"])
    assert not getattr(caught.value, "__notes__", [])


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
    rows = context.lake.read_arrow("runs").to_pylist()
    (details,) = [dict(row["details"]) for row in rows if row["outcome"] == "failed"]
    assert details["error"] == "ValueError: a broken row"
