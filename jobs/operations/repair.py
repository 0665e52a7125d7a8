"""Compares the served collection with the ledger and brings back what differs.

For rows that were deleted, changed or added behind our back, and after a restore of Milvus's own storage. The rows come
back from `vectors` and `products`; nothing is encoded, and the ledger stays as it is.
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
    """What differed, and was brought back unless it was a dry run.

    Attributes:
        collection: the served one.
        rows: what the ledger says it holds.
        found: rows that differed, by kind.
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
    """Compare every row of the served collection with the ledger and bring back what differs.

    Args:
        context: lake, session and settings; its date does not matter.
        deep: compare all fields and vectors too; reads the whole collection.
        dry_run: only look.

    Raises:
        NightStoppedError: the lake lacks what must be brought back, or the collection still differs afterwards.
        NothingPublishedError, LeaseBusyError: there is nothing to repair, or a night writes it.
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
