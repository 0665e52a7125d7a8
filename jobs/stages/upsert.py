"""upsert: brings the live collection to tonight's state, verifies it, and only then writes the ledger.

Under the lease: mend what an unfinished run left, upsert, delete, flush, verify (counts, rows read back, searches),
commit `served`. Killed anywhere and run again, the end is the same: rows carry the lease's epoch, and until the
ledger's commit they count as unfinished.
"""

from collections.abc import Mapping
from datetime import date as Date
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.errors import NightStoppedError
from jobs.milvus.client import connect, count_rows
from jobs.serving.canary import (
    MIN_QUERIES,
    CanaryBaseline,
    check_self_retrieval,
    measure_neighbour_churn,
    record_neighbours,
    sample_unchanged_ids,
)
from jobs.serving.collection import (
    check_capacity,
    ensure_collection,
    flush_collection,
    is_behind,
    read_dimension,
    verify_collection,
)
from jobs.serving.reconcile import Reconciler
from jobs.serving.row_writer import RowWriter, WriteResult
from jobs.serving.rows import check_serving_rows, has_changes, read_changes, select_to_serve, select_upsert_rows
from jobs.spark.row_counts import count_frames
from jobs.stages.breakers import check_neighbour_churn
from jobs.stages.late_arrivals import freeze_late_plan, select_late_changes
from jobs.state.changes import DELETED
from jobs.state.hold import check_not_held
from jobs.state.lease import Lease, hold_lease, read_lease_state
from jobs.state.ledger import (
    DELETE,
    UPSERT,
    epoch_mark,
    highwater_mark,
    ledger_counter,
    read_highwater_date,
    read_ledger,
    read_ledger_epoch,
    read_ledger_version,
)
from jobs.state.plan_record import Plan, require_plan
from jobs.state.run_context import RunContext, StageResult
from jobs.state.stop_signal import stop_on_sigterm
from schemas.collection import ID_FIELD

if TYPE_CHECKING:
    from pymilvus import MilvusClient

LEDGER_COLUMNS = "product_id string, content_hash string, partial boolean, snapshot_date string, epoch long"
"""Spark's schema of `jobs.state.ledger.read_ledger`."""


def upsert(context: RunContext) -> StageResult:
    """Bring the collection of tonight's plan to tonight's state.

    Raises:
        NightStoppedError: no plan, a plan overtaken by another run, vectors that are missing or broken, too many rows
            for Milvus Lite, or a collection that does not hold what it must.
        NightHeldError: nights are held after a restore.
        LeaseBusyError, LeaseLostError: another writer has the collection.
        StoppedError: SIGTERM came; the lease is given back.
        LiteBusyError, MilvusUnreachableError: Milvus cannot be had.
    """
    plan = context.apart or require_plan(context.lake, context.date)
    if not plan.serve:
        return _serve_late(context, plan)
    if _is_done(context, plan):
        return _result(plan, note="found committed")
    with connect(context.settings) as client:
        if _is_settled(context, plan, client):
            return _result(plan, note="nothing to change")
        with (
            hold_lease(context.lake, plan.collection, context.settings) as lease,
            stop_on_sigterm(lease.guard.stop, plan.collection),
        ):
            if _is_done(context, plan):  # by the twin that we waited for
                return _result(plan, note="found committed")
            if not context.apart:
                check_not_held(context.lake)
            return UpsertRun(context, plan, client, lease).run()


def _serve_late(context: RunContext, plan: Plan) -> StageResult:
    """Serve what a date older than the served one still has to say (`jobs.stages.late_arrivals`)."""
    if select_late_changes(context, plan).isEmpty():
        note = f"nothing served: {plan.collection} serves a later date already, tonight's vectors wait in the lake"
        return _result(plan, note=note)
    with (
        connect(context.settings) as client,
        hold_lease(context.lake, plan.collection, context.settings) as lease,
        stop_on_sigterm(lease.guard.stop, plan.collection),
    ):
        check_not_held(context.lake)
        return UpsertRun(context, freeze_late_plan(context, plan), client, lease).run()


def _is_done(context: RunContext, plan: Plan) -> bool:
    return context.lake.is_committed("served", plan.served_attempt)


def _is_settled(context: RunContext, plan: Plan, client: "MilvusClient") -> bool:
    """Return whether Milvus already is what the plan wants: no changes, same date, nothing left unfinished."""
    lake, name = context.lake, plan.collection
    if not client.has_collection(name) or read_highwater_date(lake, name) != Date.fromisoformat(context.date):
        return False
    if has_changes(context, plan):
        return False
    if read_lease_state(lake, name).epoch > read_ledger_epoch(lake, name):
        return False
    client.load_collection(name)
    ledger = read_ledger(context.spark, lake, name)
    return count_rows(client, name) == ledger.count() and not is_behind(client, name, ledger)


def _result(
    plan: Plan,
    *,
    note: str = "",
    upserted: int = 0,
    deleted: int = 0,
    reconciled: int = 0,
    details: Mapping[str, str] | None = None,
) -> StageResult:
    counts = {"upserted": upserted, "deleted": deleted, "mended": reconciled}
    told = {"run_id": plan.run_id, "collection": plan.collection, **({"note": note} if note else {})}
    return StageResult(counts, {**told, **(details or {})})


class UpsertRun:
    """One run under the lease.

    Args:
        context, plan: what is to be served.
        client, lease: where, and the right to.
    """

    def __init__(self, context: RunContext, plan: Plan, client: "MilvusClient", lease: Lease) -> None:
        self._night, self._plan, self._client, self._epoch = context, plan, client, lease.epoch
        self._dimension = read_dimension(context.lake, plan.model_version)
        self._writer = RowWriter(context.settings, lease.guard, plan.collection)
        self._mender = Reconciler(
            context.spark, context.lake, client, self._writer, plan.model_version, self._dimension
        )
        self._ledger = read_ledger(context.spark, context.lake, plan.collection)
        self._deletes = read_changes(context, plan).where(F.col("op") == DELETED).select(ID_FIELD)

    def run(self) -> StageResult:
        """Do the whole of it and return what was done."""
        self._check_plan_stands()
        if self._plan.counts["valid"] == self._plan.counts["unchanged"]:
            return self._serve(self._night.spark.createDataFrame([], LEDGER_COLUMNS))
        rows = select_upsert_rows(self._night, self._plan, self._epoch).persist()
        try:
            return self._serve(rows)
        finally:
            rows.unpersist()

    def _serve(self, rows: DataFrame) -> StageResult:
        """Serve the rows, which are checked, sent and noted in the ledger from one computation."""
        name = self._plan.collection
        upserts = check_serving_rows(rows, self._dimension) if "vector" in rows.columns else 0
        target = self._target(rows)
        total = self._check_counts(upserts, target)
        ensure_collection(self._client, self._night, self._plan, self._dimension, total)
        mended, is_wrong = self._reconcile_unfinished()
        canary = self._find_baseline(rows, upserts)
        written = self._writer.write(self._client, rows) if upserts else WriteResult()
        deleted = self._writer.delete(self._client, self._deletes) if self._plan.counts["deleted"] else 0
        flush_collection(self._client, name)
        if is_wrong or count_rows(self._client, name) != total:
            mended += self._mender.to(target).rows
            flush_collection(self._client, name)
        verify_collection(self._client, name, rows=total, epoch=self._epoch, epoch_rows=upserts, written=written)
        sung = self._check_canary(canary, written)
        is_new_date = read_highwater_date(self._night.lake, name) != Date.fromisoformat(self._night.date)
        if upserts or deleted or mended or is_new_date:
            self._commit(rows, upserts + deleted)
        return _result(self._plan, upserted=upserts, deleted=deleted, reconciled=mended, details=sung)

    def _find_baseline(self, rows: DataFrame, upserts: int) -> CanaryBaseline | None:
        """Look at the neighbours of products that this run leaves alone, where there are enough of them."""
        if not (upserts or self._plan.counts[DELETED]) or self._plan.counts["unchanged"] < MIN_QUERIES:
            return None
        touched = rows.select(ID_FIELD).unionByName(self._deletes)
        return record_neighbours(self._client, self._plan.collection, sample_unchanged_ids(self._ledger, touched))

    def _check_canary(self, canary: CanaryBaseline | None, written: WriteResult) -> dict[str, str]:
        """Try searches; return what they told, for the record. Where the breaker trips, the rows are taken back."""
        name = self._plan.collection
        check_self_retrieval(self._client, name, written.sample)
        if canary is None:
            return {}
        shift = measure_neighbour_churn(self._client, name, canary, self._epoch)
        try:
            override = check_neighbour_churn(self._night, shift)
        except NightStoppedError:
            self._mender.to(self._ledger)
            flush_collection(self._client, name)
            raise
        return {"shift": f"{shift:.3f}", **({"override": override} if override else {})}

    def _target(self, rows: DataFrame) -> DataFrame:
        """Return what the ledger will say: what it says now, without what this run touches, and this run's rows."""
        touched = rows.select(ID_FIELD).unionByName(self._deletes)
        columns = self._ledger.columns
        return self._ledger.join(touched, ID_FIELD, "left_anti").unionByName(rows.select(*columns))

    def _check_counts(self, upserts: int, target: DataFrame) -> int:
        """Return how many rows the collection is to hold, if the plan's vectors are all there and Milvus has room.

        Raises:
            NightStoppedError: they are not, or it has not.
        """
        counts = count_frames({"wanted": select_to_serve(self._night, self._plan), "total": target})
        if counts["wanted"] != upserts:
            raise NightStoppedError(
                f"{counts['wanted']:,} products of the plan {self._plan.run_id} are to be served, {upserts:,} have a "
                f"vector: run `moon infer --date {self._night.date}` first"
            )
        check_capacity(self._client, self._night.settings, counts["total"])
        return counts["total"]

    def _highwater(self) -> Date:
        """Return the date that the collection stands for afterwards: a night never takes it back."""
        ours, latest = (
            Date.fromisoformat(self._night.date),
            read_highwater_date(self._night.lake, self._plan.collection),
        )
        return max(ours, latest) if latest and not self._night.apart else ours

    def _check_plan_stands(self) -> None:
        """Refuse a plan that was made from an older ledger."""
        found = read_ledger_version(self._night.lake, self._plan.collection)
        if found != self._plan.ledger_version:
            raise NightStoppedError(
                f"the plan {self._plan.run_id} was made before another run changed {self._plan.collection} (ledger "
                f"version {self._plan.ledger_version}, now {found}): plan again with "
                f"`moon prepare --date {self._night.date}`"
            )

    def _reconcile_unfinished(self) -> tuple[int, bool]:
        """Mend what runs left that took the lease after the ledger was last written; none did, as a rule.

        Returns:
            How many rows were mended, and whether the collection must be compared row by row in the end.
        """
        if self._epoch - 1 <= read_ledger_epoch(self._night.lake, self._plan.collection):
            return 0, is_behind(self._client, self._plan.collection, self._ledger)
        ours = read_changes(self._night, self._plan)
        return self._mender.reconcile_after_crash(self._ledger, ours, self._plan.ledger_version), False

    def _commit(self, rows: DataFrame, expected: int) -> None:
        """Write what Milvus holds now into the ledger."""
        name = self._plan.collection
        upserts = rows.select(*self._ledger.columns, F.lit(UPSERT).alias("op"))
        deletes = self._deletes.select(
            ID_FIELD,
            F.lit(DELETE).alias("op"),
            F.lit(None).cast("string").alias("content_hash"),
            F.lit(self._night.date).alias("snapshot_date"),
            F.lit(self._epoch).cast("long").alias("epoch"),
            F.lit(False).alias("partial"),
        )
        files = self._night.lake.write(upserts.unionByName(deletes), "served", {"collection": name})
        described = sum(file.rows for file in files)
        if described != expected:
            raise NightStoppedError(
                f"Milvus was sent {expected:,} changes, the ledger would get {described:,}: the lake changed "
                "underneath. Run the night again"
            )
        self._night.lake.commit(
            "served",
            files,
            attempt=self._plan.served_attempt,
            partition={"collection": name},
            counter=(ledger_counter(name), self._plan.ledger_version),
            marks={
                highwater_mark(name): self._highwater().toordinal(),
                epoch_mark(name): self._epoch,
            },
        )
