"""The history of runs (table `runs`): one row for every executed stage and every action of an operator."""

import getpass
import socket
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from jobs.lake.store import Lake
from jobs.lake.writing import FileSink

RunRow = dict[str, object]
"""A row of `runs` without its date and run id."""


def make_run_row(
    stage: str,
    counts: Mapping[str, int],
    details: Mapping[str, str],
    *,
    seconds: float = 0.0,
    outcome: str = "success",
) -> RunRow:
    """Return a row of `runs` that ends now.

    Args:
        stage: stage, or name of the operator's action.
        counts, details: numbers and texts for the record.
        seconds: duration in seconds.
        outcome: "success", "failed" or "started".
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
