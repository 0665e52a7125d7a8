"""The history of runs (table `runs`): one row for every executed stage and every action of an operator."""

import uuid

from jobs.lake.store import Lake
from jobs.lake.writing import FileSink


def record_runs(lake: Lake, date: str, run_id: str, rows: list[dict[str, object]]) -> None:
    """Append rows to `runs`: a history of executions, so every execution is an attempt of its own."""
    partition = {"date": date}
    sink = FileSink(lake.storage, "runs", partition)
    sink.write_rows([{**row, "run_id": run_id} for row in rows])
    lake.commit("runs", sink.close(), attempt=f"runs/{uuid.uuid4()}", partition=partition)
