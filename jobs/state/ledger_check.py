"""Tells whether a ledger is behind: older than what the collection was brought to, or without some of its rows."""

from typing import Any

from jobs.errors import DamageError
from jobs.lake.store import Lake
from jobs.state.ledger import read_ledger_head
from jobs.state.run_log import SUCCESS

LEDGER_REMEDY = (
    "put the files of the table `served` back from a backup, or write the ledger again from the collection with "
    "`moon repair --rewrite-ledger`"
)


def check_ledger(lake: Lake, collection: str, rows: int) -> None:
    """Check that a ledger has the rows and the commits that it must have.

    Args:
        lake, collection: lake and collection of the ledger.
        rows: number of products that its rows say the collection holds.

    Raises:
        DamageError: its table was restored to an earlier version, or has lost files.
    """
    if problem := find_ledger_problem(lake, collection, rows):
        raise DamageError(
            f"the ledger of {collection} {problem}: its table was restored to an earlier version or has lost files. "
            f"To repair by it would roll {collection} back; nothing was changed. Remedy: {LEDGER_REMEDY}"
        )


def find_ledger_problem(lake: Lake, collection: str, rows: int) -> str:
    """Return how a ledger is behind the last successful run; empty where it is not (arguments as for `check_ledger`).

    A run commits the ledger under a name of its own before it is recorded in `runs`: a recorded run whose commit the
    ledger does not have is one that the ledger has lost.
    """
    run = find_last_write(lake, collection)
    if run is not None and not lake.is_committed("served", f"upsert/{run['run_id']}"):
        return f"knows nothing of the run {run['run_id']}, which served {run['date']}"
    head = read_ledger_head(lake, collection)
    if head.rows is not None and head.rows != rows:
        return f"says {rows:,} products by its rows, and {head.rows:,} by its last commit"
    return ""


def find_last_write(lake: Lake, collection: str) -> dict[str, Any] | None:
    """Return the row of `runs` of the last successful upsert that changed a collection; None where there is none."""
    rows = lake.read_arrow("runs").to_pylist()
    writes = [row for row in rows if row["stage"] == "upsert" and row["outcome"] == SUCCESS]
    ours = [row for row in writes if dict(row["details"]).get("collection") == collection and _has_written(row)]
    return max(ours, key=lambda row: row["finished_at"], default=None)


def _has_written(row: dict[str, Any]) -> bool:
    counts = dict(row["counts"])
    return bool(counts.get("upserted") or counts.get("deleted"))
