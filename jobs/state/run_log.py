"""The history of runs (table `runs`): one row for every executed stage and every action of an operator.

An execution is one process that runs stages of a run. It begins with a start record: a row with stage `RUN_STAGE` and
outcome `STARTED`. The rows of its stages carry its id in their details, so that an execution without an end is known to
be running or killed.
"""

import getpass
import os
import socket
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import psutil

from jobs.lake.store import Lake
from jobs.lake.writing import FileSink

RunRow = dict[str, object]
"""A row of `runs` without its date and run id."""

RUN_STAGE = "run"
"""The stage of a start record, which is no stage of `jobs.stages.runner`."""

STARTED, SUCCESS, FAILED = "started", "success", "failed"
"""Values of `runs.outcome`."""

EXECUTION = "execution"
"""Name of the detail with the id of the execution, in the start record and in the rows of its stages."""

STAGES_DETAIL = "stages"
"""Name of the detail of a start record with the names of its stages, separated by spaces."""


def make_run_row(
    stage: str,
    counts: Mapping[str, int],
    details: Mapping[str, str],
    *,
    seconds: float = 0.0,
    outcome: str = SUCCESS,
) -> RunRow:
    """Return a row of `runs` that ends now.

    Args:
        stage: stage, or name of the operator's action.
        counts, details: numbers and texts for the record.
        seconds: duration in seconds.
        outcome: `SUCCESS`, `FAILED` or `STARTED`.
    """
    return {
        "stage": stage,
        "outcome": outcome,
        "counts": list(counts.items()),
        "seconds": round(seconds, 3),
        "details": list(details.items()),
        "finished_at": datetime.now(UTC),
    }


def record_runs(lake: Lake, date: str, run_id: str, rows: Sequence[RunRow]) -> None:
    """Append rows to `runs`; every call is a separate attempt, because the table is a history of executions."""
    partition = {"date": date}
    sink = FileSink(lake.storage, "runs", partition)
    sink.write_rows([{**row, "run_id": run_id} for row in rows])
    lake.commit("runs", sink.close(), attempt=f"runs/{uuid.uuid4()}", partition=partition)


def current_operator() -> str:
    """Return the user of this process for the record, as ``user@host``."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def make_start_row(execution: str, stages: Sequence[str], details: Mapping[str, str]) -> RunRow:
    """Return the start record of an execution, with this process, so that others can tell whether it still runs.

    Args:
        execution: id of the execution.
        stages: names of the stages that it is to run.
        details: further texts for the record, such as the catalogue.
    """
    pid = os.getpid()
    process = {"host": socket.gethostname(), "pid": str(pid), "pid_started": f"{psutil.Process(pid).create_time():.2f}"}
    known = {EXECUTION: execution, STAGES_DETAIL: " ".join(stages), "by": current_operator()}
    return make_run_row(RUN_STAGE, {}, {**details, **known, **process}, outcome=STARTED)


def has_process(details: Mapping[str, str]) -> bool | None:
    """Return whether the process of a start record still exists; None for a process of another machine.

    Args:
        details: details of the start record.
    """
    if details.get("host") != socket.gethostname():
        return None
    try:
        created = psutil.Process(int(details["pid"])).create_time()
    except (psutil.Error, KeyError, ValueError):
        return False
    return bool(abs(created - float(details["pid_started"])) < 1)  # else another process has got its number
