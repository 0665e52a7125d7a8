"""Tests of the history of runs: which rows are one run, and how it ended."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.pages.run_history import (
    FAULT,
    HELD,
    INTERRUPTED,
    KILLED,
    PLANNED,
    PUBLISHED,
    RUN_STAGES,
    RUNNING,
    STOPPED,
    read_history,
    summarise_runs,
)  # fmt: skip
from jobs.state.run_log import make_start_row

START = datetime(2026, 1, 2, 2, tzinfo=UTC)
PREPARE, INFER, SERVE = ("pull", "validate", "fetch", "plan"), ("detect", "encode"), ("upsert", "publish", "report")


def make_row(stage: str, minute: float, run_id: str = "r1", outcome: str = "success", **fields: Any) -> dict[str, Any]:
    """Return a row as `Lake.read_arrow` reads it; ``details`` are a dict here and a list of pairs there."""
    details = {"execution": fields.pop("execution", "e1"), **fields.pop("details", {})}
    return {
        "date": fields.pop("date", "2026-01-02"), "run_id": run_id, "stage": stage, "outcome": outcome,
        "counts": list(fields.pop("counts", {}).items()), "seconds": fields.pop("seconds", 6.0),
        "details": list(details.items()), "finished_at": START + timedelta(minutes=minute),
    }  # fmt: skip


def make_start(minute: float, stages: tuple[str, ...], execution: str = "e1", **details: str) -> dict[str, Any]:
    row = make_start_row(execution, stages, {})
    details = {**dict(row["details"]), **details}  # type: ignore[call-overload]
    return make_row("run", minute, "", "started", seconds=0.0, details=details, execution=execution)


def run_rows(stages: tuple[str, ...], minute: float, **fields: Any) -> list[dict[str, Any]]:
    return [make_row(stage, minute + number, **fields) for number, stage in enumerate(stages, 1)]


def end_process() -> str:
    """Return the id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return str(process.pid)


def test_the_stages_are_those_of_the_runner() -> None:
    from jobs.stages.runner import NIGHTLY_STAGES

    assert RUN_STAGES == NIGHTLY_STAGES


def test_executions_of_one_plan_are_one_run() -> None:
    rows = [make_start(0, PREPARE), *run_rows(PREPARE, 0, counts={"delivered": 9})]
    assert summarise_runs(rows)[0].outcome == PLANNED, "Airflow has not started its next task"
    rows += [make_start(10, INFER, "e2", pid=end_process()), *run_rows(("detect",), 10, execution="e2")]
    (killed,) = summarise_runs(rows)
    assert (killed.outcome, killed.details["stage"], killed.finished_at) == (KILLED, "encode", None)
    rows += [make_start(20, INFER, "e3"), *run_rows(INFER, 20, execution="e3", counts={"products": 3})]
    rows += [make_start(30, SERVE, "e4"), *run_rows(SERVE, 30, execution="e4", counts={"encoded": 3})]
    (run,) = summarise_runs(rows)
    assert (run.outcome, run.run_id, run.executions) == (PUBLISHED, "r1", 4)
    assert run.counts == {"delivered": 9, "encoded": 3}
    assert (run.started_at, run.finished_at) == (START, START + timedelta(minutes=33))
    assert set(run.seconds) == set(RUN_STAGES)


@pytest.mark.parametrize(
    ("details", "outcome"),
    [
        ({"error_type": "RunsHeldError", "exit_status": "3"}, HELD),
        ({"error_type": "NightStoppedError", "exit_status": "3"}, STOPPED),
        ({"error_type": "PhotosUnreachableError", "exit_status": "75"}, STOPPED),
        ({"error_type": "StoppedError", "exit_status": "75"}, INTERRUPTED),
        ({"error_type": "KeyboardInterrupt", "exit_status": "130"}, INTERRUPTED),
        ({"error_type": "OSError", "exit_status": "1"}, FAULT),
        ({}, FAULT),
    ],
)
def test_how_a_failed_run_ended(details: dict[str, str], outcome: str) -> None:
    failed = make_row("plan", 4, "", "failed", details={**details, "error": "why"})
    (run,) = summarise_runs([make_start(0, PREPARE), *run_rows(PREPARE[:3], 0, run_id=""), failed])
    assert (run.outcome, run.details["stage"], run.details["error"]) == (outcome, "plan", "why")
    assert run.name == "2026-01-02-20260102T020000"


def test_a_run_of_another_machine_is_killed_after_half_a_day_or_when_the_scheduler_says_so() -> None:
    rows = [make_start(0, PREPARE, host="elsewhere")]
    assert summarise_runs(rows, now=START + timedelta(hours=1))[0].outcome == RUNNING
    assert summarise_runs(rows, now=START + timedelta(hours=1), has_ended=True)[0].outcome == KILLED
    assert summarise_runs(rows, now=START + timedelta(hours=13))[0].outcome == KILLED


def test_another_process_with_the_number_of_a_killed_one_is_not_the_run() -> None:
    assert summarise_runs([make_start(0, PREPARE)])[0].outcome == RUNNING
    assert summarise_runs([make_start(0, PREPARE, pid_started="1.0")])[0].outcome == KILLED


def test_what_is_no_nightly_run() -> None:
    assert summarise_runs([make_row("alias", 1, "", "started"), make_row("restore", 2, "")]) == []
    assert summarise_runs([make_start(0, ("pull",)), make_row("pull", 1, "")]) == [], "part of the run that follows"
    catch_up = ("detect", "encode", "upsert")
    assert summarise_runs([make_start(0, catch_up), *run_rows(catch_up, 0, run_id="oob")]) == []


def test_rows_of_earlier_releases_have_no_execution() -> None:
    rows = [
        *run_rows(PREPARE + INFER + SERVE, 0),
        make_row("pull", 60, "", "failed"),
        make_row("pull", 90, "", "failed"),
    ]
    for row in rows:
        row["details"] = []
    assert [run.outcome for run in summarise_runs(rows)] == [PUBLISHED, FAULT, FAULT]


def test_a_lake_without_runs_is_not_created(tmp_path, seed) -> None:
    lake = Lake(Storage(str(tmp_path / "lake")))
    assert read_history(lake) == []
    assert not (tmp_path / "lake").exists()
    for day in (3, 2, 4):
        rows = run_rows(PREPARE + INFER + SERVE, 1440 * day, run_id=f"r{day}", execution=f"e{day}")
        seed(lake, "runs", [{k: v for k, v in row.items() if k != "date"} for row in rows], {"date": f"2026-01-0{day}"})
    assert [run.run_id for run in read_history(lake)] == ["r2", "r3", "r4"]
    assert [run.run_id for run in read_history(lake, last=1)] == ["r4"]
