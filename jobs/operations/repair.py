"""repair: compares the served collection with its ledger and rewrites the rows that differ.

For rows that were deleted, changed or added by another program, and after Milvus's own storage was restored from a
backup. Rows are rebuilt from the tables `vectors` and `products`. Nothing is encoded, and the ledger is not changed.
"""

import time
from dataclasses import dataclass

from jobs.errors import NightStoppedError
from jobs.milvus.client import count_rows
from jobs.operations.catch_up import read_served_date
from jobs.operations.operator_session import operator_session, record_operation
from jobs.serving.reconcile import ReconcileResult
from jobs.state.ledger import read_ledger
from jobs.state.run_context import RunContext

_STAGE = "repair"


@dataclass(frozen=True)
class RepairResult:
    """Rows that differed from the ledger; they were rewritten unless it was a dry run.

    Attributes:
        collection: the served collection.
        rows: number of rows by the ledger.
        found: number of rows that differed, by kind of difference.
        dry_run: nothing was changed.
    """

    collection: str
    rows: int
    found: ReconcileResult
    dry_run: bool

    def as_dict(self) -> dict[str, object]:
        """Return the fields, for JSON."""
        kinds = {kind: getattr(self.found, kind) for kind in ("missing", "changed", "surplus")}
        repaired = 0 if self.dry_run else self.found.rows
        return {"collection": self.collection, "rows": self.rows, **kinds, "mended": repaired, "dry_run": self.dry_run}


def repair_collection(context: RunContext, *, deep: bool = False, dry_run: bool = False) -> RepairResult:
    """Compare every row of the served collection with the ledger and rewrite the rows that differ.

    Args:
        context: lake, session and settings; its date is not used.
        deep: compare all fields and vectors too; reads the whole collection.
        dry_run: only report differences.

    Raises:
        NightStoppedError: the lake lacks rows that must be rewritten, or the collection still differs afterwards.
        NothingPublishedError: nothing is served, so there is nothing to repair.
        LeaseBusyError: a nightly run is writing the collection.
    """
    began = time.monotonic()
    with operator_session(context) as bench:
        ledger = read_ledger(context.spark, context.lake, bench.collection)
        rows = ledger.count()
        found = bench.reconciler.reconcile(ledger, deep=deep, dry_run=dry_run)
        done = RepairResult(bench.collection, rows, found, dry_run)
        if not dry_run and found.rows:
            bench.flush()
            held = count_rows(bench.client, bench.collection)
            if held != rows:
                raise NightStoppedError(
                    f"{bench.collection} holds {held:,} rows after the repair and not {rows:,}: somebody writes it "
                    "who does not take our lease. Stop that writer and repair again"
                )
    if not dry_run:
        counts = {"rows": rows, "missing": found.missing, "changed": found.changed, "surplus": found.surplus}
        details = {"collection": done.collection, "deep": str(deep).lower()}
        record_operation(context.lake, _STAGE, read_served_date(context.lake, done.collection), counts, details, began)
    return done
