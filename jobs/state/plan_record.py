"""Freezes and reads the plan of a run: its header (table `plans`) and its rows (table `changes`)."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.errors import NightStoppedError
from jobs.lake.store import Lake
from jobs.lake.writing import FileSink
from jobs.spark.row_counts import count_frames
from jobs.state.changes import ENCODED_OPS, OPS
from jobs.state.model_registry import ModelChoice
from jobs.state.run_context import NIGHTLY, RunContext
from schemas.tables import CONTENT_KEY


@dataclass(frozen=True)
class PlanCounts:
    """Row and product counts of a plan.

    Two sums hold exactly: delivered = valid + quarantined + merged + left_out, and
    valid = new + changed + reuse + payload + unchanged.

    Attributes:
        delivered, valid, quarantined: rows of the snapshot, those that are products, those that validation refused.
        merged, left_out: rows that are part of another row's product, and those that the mapping leaves out.
        new, changed, reuse, payload, deleted, held: products by fate (`jobs.state.changes.OPS`).
        unchanged: products that the collection holds with the same content.
        unreadable: rows whose product id cannot be read; they hold the deletes.
        stale: products that the collection keeps because their row was refused or their delete is held.
        images: images of new and changed products that reach the model.
    """

    delivered: int = 0
    valid: int = 0
    quarantined: int = 0
    new: int = 0
    changed: int = 0
    reuse: int = 0
    deleted: int = 0
    held: int = 0
    unchanged: int = 0
    unreadable: int = 0
    stale: int = 0
    images: int = 0
    merged: int = 0
    left_out: int = 0
    payload: int = 0

    @property
    def judged(self) -> int:
        """Rows that the row rules judged; rows of one product count once."""
        return self.delivered - self.merged - self.left_out

    @property
    def to_encode(self) -> int:
        """Products that need a vector."""
        return self.new + self.changed

    @property
    def to_upsert(self) -> int:
        """Products that get a row in the collection."""
        return self.new + self.changed + self.reuse + self.payload

    @property
    def differing(self) -> int:
        """Rows of the collection that the plan writes or deletes."""
        return self.to_upsert + self.deleted

    def as_dict(self) -> dict[str, int]:
        """Return the numbers by name."""
        return asdict(self)


@dataclass(frozen=True)
class Plan:
    """The header of a frozen plan (table `plans`); its rows are the partition ``run_id`` of `changes`.

    Attributes:
        date: ISO date of the snapshot.
        run_id: the date and 12 hex digits of the digest of the plan's inputs.
        model_version, detector_version: model and detector of the vectors.
        collection: collection that serves them.
        ledger_version: version of the collection's ledger that the plan was compared with.
        serve: False if the collection serves a later date already: vectors are computed, Milvus is not changed.
        counts: row and product counts.
        override: breakers lifted for this plan, with the reason; empty by default.
        planned_at: time at which the header was written.
        purpose: `NIGHTLY`, or what `make_out_of_band_purpose` returns for a plan that is not the date's own.
    """

    date: str
    run_id: str
    model_version: str
    detector_version: str
    collection: str
    ledger_version: int
    serve: bool
    counts: PlanCounts = field(default_factory=PlanCounts)
    override: str = ""
    planned_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    purpose: str = NIGHTLY

    @property
    def is_out_of_band(self) -> bool:
        """Whether the plan is not the date's own: a re-embedding, or a collection that catches up."""
        return self.purpose != NIGHTLY

    @property
    def served_attempt(self) -> str:
        """The attempt under which the ledger records that this plan is served."""
        return f"upsert/{self.run_id}"

    @property
    def partition(self) -> dict[str, str]:
        """The partition of `changes` that holds this plan's rows."""
        return {"run_id": self.run_id}


def make_out_of_band_purpose(model_version: str) -> str:
    """Return the purpose of out-of-band plans for a model's collection or vectors."""
    return f"out-of-band-{model_version[:8]}"


def make_plan(
    date: str, model: ModelChoice, inputs: str, *, ledger_version: int, serve: bool, purpose: str = NIGHTLY
) -> Plan:
    """Return a plan's header without its counts; the same inputs give the same run id.

    Args:
        date: ISO date of the snapshot.
        model: model, detector and collection of the plan.
        inputs: committed state that the plan is computed from, as text.
        ledger_version: version of the collection's ledger that the plan is compared with.
        serve: whether the collection is brought to the plan's state.
        purpose: `NIGHTLY`, or the purpose of an out-of-band plan.
    """
    return Plan(
        date=date,
        run_id=make_run_id(date, inputs),
        model_version=model.model_version,
        detector_version=model.detector_version,
        collection=model.collection,
        ledger_version=ledger_version,
        serve=serve,
        purpose=purpose,
    )


def make_run_id(date: str, inputs: str) -> str:
    """Return a run id: the date and 12 hex digits of the inputs' digest."""
    return f"{date}-{hashlib.sha256(inputs.encode()).hexdigest()[:12]}"


def freeze_plan(
    context: RunContext,
    plan: Plan,
    attempt: str,
    build_changes: Callable[[], DataFrame],
    *,
    max_images: int = 0,
    count: Callable[[], Mapping[str, DataFrame]] = dict,
) -> Plan:
    """Commit the rows of a plan unless they are committed, and return the plan with its counts.

    Args:
        context: Spark, lake and date of the plan.
        plan: header without counts.
        attempt: attempt name for `Lake.commit`.
        build_changes: returns product_id, op, content_hash and source_row; called only if nothing is committed.
        max_images: maximum number of images per product that reach the model; 0 if nothing is encoded.
        count: returns further DataFrames to count, by field name of `PlanCounts`.
    """
    lake, spark = context.lake, context.spark
    if not lake.is_committed("changes", attempt):
        files = lake.write(build_changes(), "changes", plan.partition)
        lake.commit("changes", files, attempt=attempt, partition=plan.partition, mode="overwrite")
    changes = lake.read(spark, "changes", plan.partition)
    frames = {**{op: changes.where(F.col("op") == op) for op in OPS}, **count()}
    if max_images:
        products = lake.read(spark, "products", context.partition)
        encoded = products.join(changes.where(F.col("op").isin(*ENCODED_OPS)), CONTENT_KEY, "left_semi")
        frames["images"] = encoded.select(F.explode(F.slice("images", 1, max_images)))
    counts = PlanCounts(**count_frames(frames))
    valid = counts.valid if "valid" in frames else counts.to_upsert
    return replace(plan, counts=replace(counts, valid=valid, unchanged=valid - counts.to_upsert))


def commit_plan_header(lake: Lake, plan: Plan, attempt: str) -> None:
    """Commit a plan's header, which makes it the current plan of its date and purpose."""
    partition = {"date": plan.date}
    sink = FileSink(lake.storage, "plans", partition)
    sink.write_rows([{**vars(plan), "counts": list(plan.counts.as_dict().items())}])
    lake.commit("plans", sink.close(), attempt=attempt, partition=partition)


def read_plans(lake: Lake, date: str | None = None) -> list[Plan]:
    """Return the headers of all frozen plans of any purpose, of one date if it is given."""
    rows = lake.read_arrow("plans", {"date": date} if date else None).to_pylist()
    return [_read_row(row) for row in rows]


def list_earlier_plans(lake: Lake, date: str) -> list[Plan]:
    """Return the latest nightly plan of each earlier date, the latest date first, without plans that serve nothing."""
    plans = [plan for plan in read_plans(lake) if plan.date < date and plan.serve and not plan.is_out_of_band]
    latest = {plan.date: plan for plan in sorted(plans, key=lambda plan: plan.planned_at)}
    return [latest[day] for day in sorted(latest, reverse=True)]


def find_last_served_plan(lake: Lake) -> Plan | None:
    """Return the nightly plan that was served last, of any collection; None before the first."""
    plans = [plan for plan in read_plans(lake) if not plan.is_out_of_band]
    latest_first = sorted(plans, key=lambda plan: plan.planned_at, reverse=True)
    return next((plan for plan in latest_first if lake.is_committed("served", plan.served_attempt)), None)


def read_current_plan(lake: Lake, date: str) -> Plan | None:
    """Return the date's own plan that was frozen last; None before the first."""
    plans = [plan for plan in read_plans(lake, date) if not plan.is_out_of_band]
    return max(plans, key=lambda plan: plan.planned_at, default=None)


def require_plan(lake: Lake, date: str) -> Plan:
    """Return the date's own plan that was frozen last.

    Raises:
        NightStoppedError: there is none.
    """
    plan = read_current_plan(lake, date)
    if plan is None:
        raise NightStoppedError(f"there is no plan for {date} in this lake: run `moon prepare --date {date}`")
    return plan


def _read_row(row: dict[str, Any]) -> Plan:
    # A run of release 0.1 that ends during a migration writes no purpose.
    return Plan(**{**row, "counts": PlanCounts(**dict(row["counts"])), "purpose": row["purpose"] or NIGHTLY})
