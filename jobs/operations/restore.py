"""restore: brings the served collection and its ledger back to what an earlier date served, and holds the nights.

For a poisoned night: one that passed the gate and the breakers and should not have been served. It is the one way back
under a collection's high-water date (design, "Serving state"). Rows that differ from that date's are written under a
new epoch, with the snapshot dates they had; what came since is deleted. Nothing is encoded.

The hold comes first, so that a restore that was killed is not undone by the next night. Run again, it continues.
"""

import time
from dataclasses import dataclass
from datetime import date as Date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.errors import NightStoppedError
from jobs.operations.catch_up import read_served_date
from jobs.operations.operator_session import OperatorSession, operator_session, record_operation
from jobs.serving.alias import current_operator
from jobs.serving.collection import verify_collection
from jobs.serving.row_writer import WriteResult
from jobs.spark.row_counts import count_frames
from jobs.state.hold import hold_runs
from jobs.state.ledger import (
    DELETE,
    UPSERT,
    epoch_mark,
    highwater_mark,
    ledger_counter,
    read_history_start,
    read_ledger,
)
from jobs.state.run_context import RunContext
from schemas.collection import ID_FIELD

_STAGE = "restore"


@dataclass(frozen=True)
class RestoreResult:
    """What was brought back, or would be.

    Attributes:
        collection: the served one.
        date: whose state it has now.
        before: the date that was served until then.
        rows: in all.
        brought_back, deleted: rows of another content or missing, and rows that came since.
        dry_run: nothing was changed and nothing is held.
    """

    collection: str
    date: str
    before: str
    rows: int
    brought_back: int
    deleted: int
    dry_run: bool

    def as_dict(self) -> dict[str, object]:
        """Return the fields, for JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class RestorePlan:
    """From what the ledger says to what it is to say.

    Attributes:
        target: every row that is to be held, with the epoch that it has or will have.
        back: those of the target that change.
        ids_to_delete: product_id of rows that go.
        counts: rows, brought_back, deleted.
    """

    target: DataFrame
    back: DataFrame
    ids_to_delete: DataFrame
    counts: dict[str, int]


def restore_date(context: RunContext, *, dry_run: bool = False) -> RestoreResult:
    """Serve what the night's date served, and hold the nights until `moon release`.

    Args:
        context: the date to go back to, the reason, and the means.
        dry_run: only count.

    Raises:
        NightStoppedError: the collection never served that date, serves it already, or the ledger does not tell of it
            any more; or the lake lacks what must be brought back.
        NothingPublishedError, LeaseBusyError: there is nothing to restore, or a night writes it.
    """
    began = time.monotonic()
    with operator_session(context) as bench:
        before = read_served_date(context.lake, bench.collection)
        _check_date(context, bench.collection, before)
        way = _plan_restore(context, bench)
        done = RestoreResult(bench.collection, context.date, before, **way.counts, dry_run=dry_run)
        if dry_run:
            return done
        hold_runs(context.lake, context.date, context.reason, current_operator())
        mended = bench.reconciler.to(way.target)
        bench.flush()
        verify_collection(
            bench.client,
            bench.collection,
            rows=way.counts["rows"],
            epoch=bench.lease.epoch,
            epoch_rows=way.counts["brought_back"],
            written=WriteResult(mended.rows, mended.sample if mended.written == way.counts["brought_back"] else []),
        )
        _commit(context, bench, way)
    counts = {**way.counts, "mended": mended.rows}
    details = {"collection": done.collection, "before": before, "reason": context.reason}
    record_operation(context.lake, _STAGE, context.date, counts, details, began)
    return done


def _check_date(context: RunContext, collection: str, before: str) -> None:
    if context.date >= before:
        raise NightStoppedError(
            f"{collection} serves {before}: there is nothing later than {context.date} to undo (`moon repair` mends rows "
            "that were changed behind our back)"
        )
    first = read_history_start(context.lake, collection)
    if first is not None and Date.fromisoformat(context.date) < first:
        raise NightStoppedError(
            f"the ledger of {collection} tells what was served from {first} on; older dates were compacted (`moon "
            "maintain`, MOON_RETENTION_DAYS). Restore a later date"
        )


def _plan_restore(context: RunContext, session: OperatorSession) -> RestorePlan:
    spark, lake, name = context.spark, context.lake, session.collection
    now, then = read_ledger(spark, lake, name), read_ledger(spark, lake, name, context.date)
    same = [ID_FIELD, "content_hash", "snapshot_date"]
    kept = now.join(then.select(*same), same, "left_semi")
    back = then.join(now.select(*same), same, "left_anti").withColumn("epoch", F.lit(session.lease.epoch).cast("long"))
    target = kept.unionByName(back)
    gone = now.join(then, ID_FIELD, "left_anti").select(ID_FIELD)
    counts = count_frames({"rows": target, "brought_back": back, "deleted": gone})
    if not counts["rows"]:
        raise NightStoppedError(f"{name} served nothing on {context.date} yet: name a date from its first night on")
    return RestorePlan(target, back, gone, counts)


def _commit(context: RunContext, session: OperatorSession, plan: RestorePlan) -> None:
    """Write what Milvus holds now into the ledger; deletes carry the restored date, as its night would have."""
    name, date = session.collection, context.date
    deletes = plan.ids_to_delete.select(
        ID_FIELD,
        F.lit(DELETE).alias("op"),
        F.lit(None).cast("string").alias("content_hash"),
        F.lit(date).alias("snapshot_date"),
        F.lit(session.lease.epoch).cast("long").alias("epoch"),
        F.lit(False).alias("partial"),
    )
    rows = plan.back.withColumn("op", F.lit(UPSERT)).unionByName(deletes)
    context.lake.commit(
        "served",
        context.lake.write(rows, "served", {"collection": name}),
        attempt=None,
        partition={"collection": name},
        counter=(ledger_counter(name), session.ledger_version),
        marks={
            highwater_mark(name): Date.fromisoformat(date).toordinal(),
            epoch_mark(name): session.lease.epoch,
        },
    )
