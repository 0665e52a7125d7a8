"""Scratch collections: temporary collections that make the vectors of a backfill with another model searchable.

The collection holds one row per product of the range, that of its latest date. It has no ledger and no alias, and
nightly runs do not write it. A Milvus server expires its rows (``collection.ttl.seconds``). The collection itself is
dropped by `moon maintain` and by the next backfill that creates a scratch collection.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.milvus.client import connect, read_collection_properties
from jobs.operations.row_filter import filter_products
from jobs.serving.collection import check_capacity, flush_collection, recreate_collection, verify_collection
from jobs.serving.row_writer import RowWriter, WriteResult
from jobs.serving.rows import check_serving_rows, join_rows
from jobs.state.lease import Lease, LeaseBusyError, hold_lease
from jobs.state.ledger import read_vectors
from jobs.state.model_registry import ModelChoice
from jobs.state.run_context import RunContext
from jobs.state.stop_signal import stop_on_sigterm
from schemas.collection import ID_FIELD, PROPERTY_EXPIRES, PROPERTY_TTL, SCRATCH_PREFIX, is_scratch
from schemas.tables import CONTENT_KEY

if TYPE_CHECKING:
    from pymilvus import MilvusClient

    from jobs.lake.store import Lake
    from jobs.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScratchCollection:
    """A scratch collection that was filled, or one that has expired.

    Attributes:
        collection: its name; `moon search --collection` takes it.
        rows: how many products it holds.
        expires_at: when it may be dropped, ISO 8601 in UTC.
    """

    collection: str
    rows: int
    expires_at: str

    def as_dict(self) -> dict[str, object]:
        """Return the fields, for JSON."""
        return asdict(self)


def scratch_name(model: ModelChoice, dates: Sequence[str], expression: str = "") -> str:
    """Return the collection's name: one model, range and expression are one collection."""
    what = f"{model.model_version}/{dates[0]}/{dates[-1]}/{expression}"
    return f"{SCRATCH_PREFIX}{model.model_version[:8]}_{hashlib.sha256(what.encode()).hexdigest()[:8]}"


def fill_scratch(
    context: RunContext, model: ModelChoice, dates: Sequence[str], expression: str, days: int
) -> ScratchCollection:
    """Create the scratch collection of a range, replacing an earlier one, after dropping expired collections.

    Args:
        context: lake, session and settings; its date is not used.
        model: the model that the range was embedded with (`jobs.operations.reembed`).
        dates: the range, in order.
        expression: row filter, see `jobs.operations.row_filter`; empty takes every product.
        days: number of days after which the collection may be dropped.

    Raises:
        NightStoppedError: too many rows for Milvus Lite, broken vectors, or Milvus does not hold what was written.
        LeaseBusyError: the same backfill is running in another process.
    """
    name = scratch_name(model, dates, expression)
    with connect(context.settings) as client:
        drop_expired_scratch(client, context.lake, context.settings)
        with (
            hold_lease(context.lake, name, context.settings) as lease,
            stop_on_sigterm(lease.guard.stop, name),
        ):
            rows = _build_latest_rows(context, model, dates, expression, lease.epoch).persist()
            try:
                return _fill_collection(
                    context, client, replace(model, collection=name), rows, lease, timedelta(days=days)
                )
            finally:
                rows.unpersist()


def drop_expired_scratch(
    client: "MilvusClient", lake: "Lake", settings: "Settings", *, dry_run: bool = False
) -> list[ScratchCollection]:
    """Drop expired scratch collections, except one that is being filled again; return those dropped.

    Args:
        client: Milvus client.
        lake, settings: lake and settings for the lease that guards each drop.
        dry_run: only report what would be dropped.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    dropped = []
    for name in filter(is_scratch, sorted(client.list_collections())):
        expires = read_collection_properties(client, name).get(PROPERTY_EXPIRES, "")
        if not expires or expires > now:
            continue
        rows = client.get_collection_stats(name)["row_count"]  # a killed backfill may have left no index to count by
        found = ScratchCollection(name, int(rows), expires)
        try:
            with hold_lease(lake, name, settings.replace(wait_seconds=0)):
                if not dry_run:
                    client.drop_collection(name)
                    log.info("dropped the scratch collection %s, which expired at %s", name, expires)
        except LeaseBusyError:
            continue
        dropped.append(found)
    return dropped


def has_scratch(lake: "Lake") -> bool:
    """Return whether a scratch collection was ever created from this lake; if not, Milvus need not be queried."""
    return any(is_scratch(partition["collection"]) for partition in lake.list_partitions("leases"))


def _build_latest_rows(
    context: RunContext, model: ModelChoice, dates: Sequence[str], expression: str, epoch: int
) -> DataFrame:
    """Return complete rows (`jobs.serving.rows.join_rows`) of each product's latest date that has a vector."""
    products = context.lake.read(context.spark, "products").where(F.col("date").isin(list(dates)))
    taken = filter_products(products, expression)
    latest = taken.groupBy(ID_FIELD).agg(F.max("date").alias("snapshot_date"))
    dated = taken.withColumnRenamed("date", "snapshot_date").join(latest, [ID_FIELD, "snapshot_date"])
    wanted = dated.select(*CONTENT_KEY, "snapshot_date").withColumn("epoch", F.lit(epoch).cast("long"))
    vectors = read_vectors(context.spark, context.lake, model.model_version, wanted.select(*CONTENT_KEY))
    return join_rows(wanted, dated, vectors, model.model_version)


def _fill_collection(
    context: RunContext, client: "MilvusClient", model: ModelChoice, rows: DataFrame, lease: Lease, lives: timedelta
) -> ScratchCollection:
    name, total = model.collection, check_serving_rows(rows, model.dimension)
    check_capacity(client, context.settings, total)
    expires = (datetime.now(UTC) + lives).isoformat(timespec="seconds")
    lifetime = {PROPERTY_EXPIRES: expires, PROPERTY_TTL: str(int(lives.total_seconds()))}
    recreate_collection(client, context.settings, model, total, lifetime)  # replaces one of an earlier or killed run
    written = RowWriter(context.settings, lease.guard, name).write(client, rows) if total else WriteResult()
    flush_collection(client, name)
    verify_collection(client, name, rows=total, epoch=lease.epoch, epoch_rows=total, written=written)
    return ScratchCollection(name, total, expires)
