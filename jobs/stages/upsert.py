"""Stage upsert: brings the live collection to the state of the plan, verifies it, and only then writes the ledger.

Under the lease it reconciles rows of an unfinished run, upserts, deletes, flushes, verifies (counts, rows read back,
searches) and commits `served`. A killed run that is repeated reaches the same state: rows carry the lease's epoch, and
count as unfinished until the ledger is committed.
"""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.errors import NightStoppedError
from jobs.milvus.capabilities import PARTIAL_UPDATE, find_tier
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
    verify_sample,
)
from jobs.serving.reconcile import Reconciler
from jobs.serving.row_writer import RowWriter, WriteResult
from jobs.serving.rows import (
    UPDATED_FIELDS,
    check_serving_rows,
    has_changes,
    read_changes,
    select_payload_rows,
    select_to_serve,
    select_upsert_rows,
)
from jobs.spark.progress import announce_work
from jobs.spark.row_counts import count_frames
from jobs.stages.breakers import check_neighbour_churn
from jobs.stages.late_arrivals import freeze_late_plan, select_late_changes
from jobs.state.changes import DELETED, HELD, PAYLOAD, SERVED_OPS
from jobs.state.hold import check_not_held
from jobs.state.lease import Lease, find_writer, hold_lease, read_lease_state
from jobs.state.ledger import LEDGER_COLUMNS, LedgerHead, commit_ledger, read_ledger, read_ledger_head
from jobs.state.plan_record import Plan
from jobs.state.run_context import RunContext, StageResult
from jobs.state.stop_signal import stop_on_sigterm
from schemas.collection import ID_FIELD

if TYPE_CHECKING:
    from pymilvus import MilvusClient

log = logging.getLogger(__name__)


def upsert(context: RunContext, plan: Plan) -> StageResult:
    """Bring the plan's collection to the plan's state.

    Raises:
        NightStoppedError: another run has changed the ledger since the plan, vectors are missing or broken, there are
            too many rows for Milvus Lite, or the collection does not hold the expected rows.
        RunsHeldError: runs are held after a restore.
        LeaseBusyError, LeaseLostError: another writer has the collection.
        StoppedError: SIGTERM was received; the lease is released.
        LiteBusyError, MilvusUnreachableError: Milvus does not answer.
    """
    if not plan.serve:
        return _serve_late(context, plan)
    if _is_done(context, plan):
        return _undo_late_rows(context, plan)
    with connect(context.settings) as client:
        if _is_settled(context, plan, client):
            return _make_result(plan, note="nothing to change")
        with (
            hold_lease(context.lake, plan.collection, context.settings) as lease,
            stop_on_sigterm(lease.guard.stop, plan.collection),
        ):
            if _is_done(context, plan):  # by the concurrent duplicate run that held the lease before
                return _make_result(plan, note="found committed")
            if not plan.is_out_of_band:
                check_not_held(context.lake)
            return UpsertRun(context, plan, client, lease).run()


def _serve_late(context: RunContext, plan: Plan) -> StageResult:
    """Serve the products of a date older than the served one that no later date replaced or refused."""
    if select_late_changes(context, plan).isEmpty():
        note = f"nothing served: {plan.collection} serves a later date already, the new vectors wait in the lake"
        return _make_result(plan, note=note)
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
    """Return whether Milvus is in the plan's state already: no changes, same date, no unfinished run."""
    lake, name = context.lake, plan.collection
    if not client.has_collection(name):
        return False
    head = read_ledger_head(lake, name)
    if head.high_water != context.date or has_changes(context, plan):
        return False
    if read_lease_state(lake, name).epoch > head.epoch:
        return False
    return _is_intact(context, name, client)


def _is_intact(context: RunContext, name: str, client: "MilvusClient") -> bool:
    """Return whether a collection has as many rows, and of the last run too, as its ledger says."""
    client.load_collection(name)
    ledger = read_ledger(context.spark, context.lake, name)
    return count_rows(client, name) == ledger.count() and not is_behind(client, name, ledger)


def _undo_late_rows(context: RunContext, plan: Plan) -> StageResult:
    """Return that the plan is served; first undo requests that a stalled writer sent after its successor had ended.

    Such a request passed the check of the lease before the writer stalled. While another run writes, it is left to that
    run; so is a collection that this Milvus does not have.
    """
    name, note = plan.collection, "found committed"
    with connect(context.settings) as client:
        if not client.has_collection(name) or _is_intact(context, name, client):
            return _make_result(plan, note=note)
        if find_writer(context.lake, name, context.settings):
            return _make_result(plan, note=note)
        with (
            hold_lease(context.lake, name, context.settings) as lease,
            stop_on_sigterm(lease.guard.stop, name),
        ):
            return _make_result(plan, note=note, reconciled=UpsertRun(context, plan, client, lease).reconcile())


def _make_result(
    plan: Plan,
    *,
    note: str = "",
    upserted: int = 0,
    deleted: int = 0,
    reconciled: int = 0,
    details: Mapping[str, str] | None = None,
) -> StageResult:
    counts = {"upserted": upserted, "deleted": deleted, "mended": reconciled}
    noted = {"run_id": plan.run_id, "collection": plan.collection, **({"note": note} if note else {})}
    return StageResult(counts, {**noted, **(details or {})})


class UpsertRun:
    """One upsert under the lease; no other process writes the collection or its ledger until it ends.

    Args:
        context: date, lake, session and settings.
        plan: plan to serve.
        client: Milvus client.
        lease: write lease on the plan's collection.
    """

    def __init__(self, context: RunContext, plan: Plan, client: "MilvusClient", lease: Lease) -> None:
        self._context = context
        self._plan = plan
        self._client = client
        self._epoch = lease.epoch
        self._dimension = read_dimension(context.lake, plan.model_version)
        self._writer = RowWriter(context.settings, lease.guard, plan.collection)
        self._reconciler = Reconciler(
            context.spark, context.lake, client, self._writer, plan.model_version, self._dimension
        )
        self._head = read_ledger_head(context.lake, plan.collection)
        self._ledger = read_ledger(context.spark, context.lake, plan.collection).persist()
        self._deletes = read_changes(context, plan).where(F.col("op") == DELETED).select(ID_FIELD)

    def run(self) -> StageResult:
        """Bring the collection to the plan's state and return the counts."""
        self._check_plan_is_current()
        counts, none = self._plan.counts, self._context.spark.createDataFrame([], LEDGER_COLUMNS)
        tier = find_tier(self._client, self._context.settings.milvus_tier)
        updates = counts.payload if tier.has(PARTIAL_UPDATE) else 0
        ops = SERVED_OPS if not updates else tuple(op for op in SERVED_OPS if op != PAYLOAD)
        rows = self._select_rows(ops).persist() if counts.to_upsert > updates else none
        changed = none
        if updates:
            changed = select_payload_rows(self._context, self._plan, self._epoch, self._ledger).persist()
        try:
            return self._serve(rows, changed, updates)
        finally:
            for frame in (rows, changed, self._ledger):
                frame.unpersist()

    def _select_rows(self, ops: tuple[str, ...]) -> DataFrame:
        return select_upsert_rows(self._context, self._plan, self._epoch, ops)

    def reconcile(self) -> int:
        """Make the collection match its ledger, row by row, and return the number of rows that differed."""
        rows = self._reconciler.reconcile(self._ledger).rows
        flush_collection(self._client, self._plan.collection)
        return rows

    def _serve(self, rows: DataFrame, changed: DataFrame, updates: int) -> StageResult:
        """Serve the rows, which are computed once and then checked, sent and written to the ledger.

        Args:
            rows: whole rows, or an empty frame of the ledger's columns.
            changed: rows whose payload is updated in place (`select_payload_rows`).
            updates: number of rows in `changed`.
        """
        name = self._plan.collection
        # 1. Check the rows, their number against the plan, and the capacity of Milvus.
        upserts = check_serving_rows(rows, self._dimension) if "vector" in rows.columns else 0
        written_rows = rows.select(*self._ledger.columns).unionByName(changed.select(*self._ledger.columns))
        target = self._build_target(written_rows)
        total = self._check_counts(upserts + updates, target)
        # 2. Open the collection and reconcile the changes of an unfinished run.
        ensure_collection(self._client, self._context, self._plan, self._dimension, total)
        reconciled, is_wrong = self._reconcile_unfinished()
        # 3. Record the neighbours of unchanged products, then write.
        baseline = self._find_baseline(written_rows, upserts)
        announce_work(self._plan.counts.to_upsert, "products")
        written = self._writer.write(self._client, rows) if upserts else WriteResult()
        updated = self._update_payloads(changed) if updates else WriteResult()
        upserts += updates
        deleted = self._writer.delete(self._client, self._deletes) if self._plan.counts.deleted else 0
        flush_collection(self._client, name)
        # 4. If the number of rows is wrong after all, compare every row with the target.
        if is_wrong or count_rows(self._client, name) != total:
            reconciled += self._reconciler.reconcile(target).rows
            flush_collection(self._client, name)
        # 5. Verify counts, rows read back and searches; a tripped breaker undoes the upsert. A run that stalled and has
        # lost its lease says so: it is retried, and then undoes what it sent after its successor.
        self._writer.guard.check()
        verify_collection(self._client, name, rows=total, epoch=self._epoch, epoch_rows=upserts, written=written)
        verify_sample(self._client, name, updated, self._epoch)
        canary_details = self._check_canary(baseline, written)
        # 6. Write the ledger last.
        if upserts or deleted or reconciled or self._head.high_water != self._context.date:
            self._commit(written_rows, total, upserts + deleted)
        return _make_result(
            self._plan, upserted=upserts, deleted=deleted, reconciled=reconciled, details=canary_details
        )

    def _update_payloads(self, changed: DataFrame) -> WriteResult:
        """Write new payloads in place; whole rows, with the lake's vectors, if the collection lacks one of them."""
        from pymilvus import MilvusException  # noqa: PLC0415  (a second to import)

        try:
            return self._writer.write(self._client, changed, UPDATED_FIELDS)
        except MilvusException as error:
            log.warning(
                "%s lacks rows whose payload changed (%s): whole rows are written", self._plan.collection, error
            )
            return self._writer.write(self._client, self._select_rows((PAYLOAD,)))

    def _find_baseline(self, rows: DataFrame, upserts: int) -> CanaryBaseline | None:
        """Return the neighbours of products that this run does not change; None if there are too few."""
        counts = self._plan.counts
        if not (upserts or counts.deleted) or counts.unchanged < MIN_QUERIES:
            return None
        touched = rows.select(ID_FIELD).unionByName(self._deletes)
        return record_neighbours(self._client, self._plan.collection, sample_unchanged_ids(self._ledger, touched))

    def _check_canary(self, baseline: CanaryBaseline | None, written: WriteResult) -> dict[str, str]:
        """Run the canary queries and return details for the record; if the breaker trips, the upsert is undone."""
        name = self._plan.collection
        check_self_retrieval(self._client, name, written.sample)
        if baseline is None:
            return {}
        churn = measure_neighbour_churn(self._client, name, baseline, self._epoch)
        try:
            override = check_neighbour_churn(self._context, churn)
        except NightStoppedError:
            self._reconciler.reconcile(self._ledger)
            flush_collection(self._client, name)
            raise
        return {"shift": f"{churn:.3f}", **({"override": override} if override else {})}

    def _build_target(self, rows: DataFrame) -> DataFrame:
        """Return the ledger after this run: the current ledger without the rows this run changes, plus its rows."""
        touched = rows.select(ID_FIELD).unionByName(self._deletes)
        return self._ledger.join(touched, ID_FIELD, "left_anti").unionByName(rows)

    def _check_counts(self, upserts: int, target: DataFrame) -> int:
        """Return the number of rows after this run, after checking the plan's vectors and the capacity of Milvus.

        Raises:
            NightStoppedError: vectors are missing, or there are too many rows for Milvus.
        """
        counts = count_frames({"wanted": select_to_serve(self._context, self._plan), "total": target})
        if counts["wanted"] != upserts:
            raise NightStoppedError(
                f"{counts['wanted']:,} products of the plan {self._plan.run_id} are to be served, {upserts:,} have a "
                f"vector: run `moon infer --date {self._context.date}` first"
            )
        check_capacity(self._client, self._context.settings, counts["total"])
        return counts["total"]

    def _choose_high_water(self) -> str:
        """Return the high-water date after this run, which a nightly run never lowers."""
        if self._head.high_water is None or self._plan.is_out_of_band:
            return self._context.date
        return max(self._context.date, self._head.high_water)

    def _check_plan_is_current(self) -> None:
        """Check that the plan was made from the current ledger."""
        if self._head.version != self._plan.ledger_version:
            raise NightStoppedError(
                f"the plan {self._plan.run_id} was made before another run changed {self._plan.collection} (ledger "
                f"version {self._plan.ledger_version}, now {self._head.version}): plan again with "
                f"`moon prepare --date {self._context.date}`"
            )

    def _reconcile_unfinished(self) -> tuple[int, bool]:
        """Undo the changes of runs that took the lease but did not write the ledger; mostly there are none.

        Returns:
            The number of rows rewritten, and whether the collection must be compared row by row at the end.
        """
        if self._epoch - 1 <= self._head.epoch:
            return 0, is_behind(self._client, self._plan.collection, self._ledger)
        changes = read_changes(self._context, self._plan).where(F.col("op") != HELD)
        return self._reconciler.reconcile_after_crash(self._ledger, changes, self._head), False

    def _commit(self, rows: DataFrame, held_rows: int, expected_rows: int) -> None:
        """Write what Milvus holds now into the ledger."""
        commit_ledger(
            self._context.lake,
            self._plan.collection,
            rows,
            self._deletes,
            date=self._context.date,
            head=LedgerHead(self._plan.ledger_version, self._choose_high_water(), self._epoch, None, held_rows),
            expected_rows=expected_rows,
            attempt=self._plan.served_attempt,
        )
