"""repair: compares the served collection with its ledger and rewrites the rows that differ.

For rows that were deleted, changed or added by another program, and after Milvus's own storage was restored from a
backup. Rows are rebuilt from the tables `vectors` and `products`. Nothing is encoded, and the ledger is not changed.
Where the ledger itself is damaged, it is written again from the collection, which is what readers see.
"""

import time
from dataclasses import dataclass

from pyspark.sql import functions as F

from jobs.errors import NightStoppedError
from jobs.lake.writing import FileSink
from jobs.milvus.client import count_rows, scan_rows
from jobs.operations.catch_up import read_served_date
from jobs.operations.operator_session import OperatorSession, operator_session, record_operation
from jobs.serving.reconcile import ReconcileResult
from jobs.state.ledger import UPSERT, LedgerHead, make_marks, read_ledger, read_ledger_head
from jobs.state.ledger_check import check_ledger, find_last_write
from jobs.state.run_context import RunContext
from schemas.collection import GROUP_FIELD, ID_FIELD, PAYLOAD_HASH_FIELD, has_groups, has_payload
from schemas.tables import CONTENT_KEY

_STAGE, _LEDGER_STAGE = "repair", "rewrite-ledger"


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

    A ledger that is behind the last successful run is never followed: that would roll the collection back.

    Args:
        context: lake, session and settings; its date is not used.
        deep: compare all fields and vectors too; reads the whole collection.
        dry_run: only report differences.

    Raises:
        NightStoppedError: the lake lacks rows that must be rewritten, or the collection still differs afterwards.
        DamageError: the ledger is behind, or the collection has other fields.
        NothingPublishedError: nothing is served, so there is nothing to repair.
        LeaseBusyError: a nightly run is writing the collection.
    """
    began = time.monotonic()
    with operator_session(context) as bench:
        ledger = read_ledger(context.spark, context.lake, bench.collection)
        rows = ledger.count()
        check_ledger(context.lake, bench.collection, rows)
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


@dataclass(frozen=True)
class LedgerRewrite:
    """Rows of a ledger that was written again from its collection, or would be in a dry run.

    Attributes:
        collection: the served collection.
        rows: number of its rows.
        date: latest ISO snapshot date of them; empty for an empty collection.
        dry_run: nothing was changed.
    """

    collection: str
    rows: int
    date: str
    dry_run: bool

    def as_dict(self) -> dict[str, object]:
        """Return the fields, for JSON."""
        return dict(vars(self))


def rewrite_ledger(context: RunContext, *, dry_run: bool = False) -> LedgerRewrite:
    """Replace the ledger of the served collection by what the collection holds.

    The history of earlier dates is lost with the damaged ledger: `moon restore` reaches back to this state only.

    Args:
        context: lake, session and settings; its date is not used.
        dry_run: only count the rows.

    Raises:
        DamageError: the collection has other fields.
        NothingPublishedError: nothing is served.
        LeaseBusyError: a nightly run is writing the collection.
    """
    began = time.monotonic()
    with operator_session(context, needs_ledger=False) as bench:
        sink, rows, latest = FileSink(context.lake.storage, "served", {"collection": bench.collection}), 0, ""
        partial = set() if dry_run else _read_partial(context, bench.reconciler.model_version)
        fields = ["content_hash", "epoch", "snapshot_date", *([GROUP_FIELD] if has_groups(bench.collection) else [])]
        fields += [PAYLOAD_HASH_FIELD] if has_payload(bench.collection) else []
        for page in scan_rows(bench.client, bench.collection, fields):
            rows, latest = rows + len(page), max([latest, *(str(row["snapshot_date"]) for row in page)])
            kept = [{**row, "op": UPSERT, "partial": (row[ID_FIELD], row["content_hash"]) in partial} for row in page]
            if not dry_run:
                sink.write_rows(kept)
        done = LedgerRewrite(bench.collection, rows, latest, dry_run)
        if not dry_run:
            _replace_ledger(context, bench, sink, done)
    if not dry_run:
        record_operation(context.lake, _LEDGER_STAGE, latest, {"rows": rows}, {"collection": done.collection}, began)
    return done


def _replace_ledger(context: RunContext, bench: OperatorSession, sink: FileSink, done: LedgerRewrite) -> None:
    lake, name = context.lake, bench.collection
    head, last = read_ledger_head(lake, name), find_last_write(lake, name)
    date = max(head.high_water or "", done.date) or None
    marks = make_marks(name, LedgerHead(0, date, bench.lease.epoch, date, done.rows))
    if last is not None:
        marks[f"attempt:upsert/{last['run_id']}"] = 1  # the collection holds what that run wrote
    lake.commit(
        "served",
        sink.close(),
        attempt=None,
        partition={"collection": name},
        mode="overwrite",
        counter=(f"ledger:{name}", head.version),
        marks=marks,
    )


def _read_partial(context: RunContext, model_version: str) -> set[tuple[str, str]]:
    """Return product id and content hash of all vectors that lack an image and have no complete successor."""
    vectors = context.lake.read(context.spark, "vectors", {"model_version": model_version})
    complete = vectors.where(~F.col("partial"))
    rows = vectors.where("partial").join(complete, CONTENT_KEY, "left_anti").select(*CONTENT_KEY).distinct()
    return {(row.product_id, row.content_hash) for row in rows.collect()}
