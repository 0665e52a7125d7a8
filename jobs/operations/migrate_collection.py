"""Moves readers to a collection of the current schema version, filled from the lake without encoding.

A collection belongs to one model version and one schema version (docs/decisions/0013-collection-names.md). The new
collection gets exactly the rows in the ledger of the served one and is verified. It is kept up to date until the alias
has moved; nightly runs may finish in between. The old collection stays until `moon retire`.
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.milvus.client import connect, read_alias_target, read_collection_properties
from jobs.operations.catch_up import act_while_locked, read_served_date
from jobs.serving.alias import move_alias
from jobs.serving.collection import check_capacity, ensure_successor
from jobs.serving.ledger_change import apply_change, compare_ledgers
from jobs.serving.reconcile import Reconciler
from jobs.serving.row_writer import RowWriter
from jobs.settings import Settings
from jobs.state.lease import hold_lease
from jobs.state.ledger import get_group, get_payload_hash, read_ledger, read_ledger_head
from jobs.state.model_registry import check_schema_version
from jobs.state.run_context import RunContext
from jobs.state.stop_signal import stop_on_sigterm
from schemas.collection import (
    COLLECTION_SCHEMA_VERSION,
    GROUP_FIELD,
    PAYLOAD_HASH_FIELD,
    PROPERTY_DIMENSION,
    PROPERTY_MODEL,
    collection_name,
    has_groups,
    has_payload,
    read_schema_version,
)
from schemas.tables import CONTENT_KEY, PRODUCTS

MIGRATE_VERB = "migrate"


@dataclass(frozen=True)
class CollectionMigration:
    """A served collection and its replacement.

    Attributes:
        before, after: names of the old and the new collection.
        model_version: model version of both.
        dimension: dimension of their vectors.
    """

    before: str
    after: str
    model_version: str
    dimension: int

    def as_dict(self) -> dict[str, object]:
        """Return the fields, for JSON."""
        return asdict(self)


def plan_collection(settings: Settings) -> CollectionMigration | None:
    """Return the replacement of the served collection; None if nothing is served or its schema version is current.

    Raises:
        SchemaVersionError: a later release created the collection.
        LiteBusyError, MilvusUnreachableError: Milvus does not answer.
    """
    if settings.is_lite and not Path(settings.milvus).exists():
        return None
    with connect(settings) as client:
        served = read_alias_target(client, settings.alias)
        if served is None:
            return None
        properties = read_collection_properties(client, served)
    if PROPERTY_MODEL not in properties or read_schema_version(properties) == COLLECTION_SCHEMA_VERSION:
        return None
    if read_schema_version(properties) > COLLECTION_SCHEMA_VERSION:
        check_schema_version(served, properties)
    version = properties[PROPERTY_MODEL]
    return CollectionMigration(served, collection_name(version), version, int(properties[PROPERTY_DIMENSION]))


def migrate_collection(context: RunContext, plan: CollectionMigration) -> None:
    """Fill the new collection, then move the alias and the model's pinned alias to it.

    A call that was killed continues when it is repeated.

    Args:
        context: lake, session and settings; its date is not used.
        plan: from `plan_collection`.

    Raises:
        NightStoppedError: the lake lacks rows that are served, or Milvus does not hold the rows that were written.
        LeaseBusyError: a nightly run held the lease for longer than the waiting time.
    """
    settings, reason = context.settings, f"collection schema version {COLLECTION_SCHEMA_VERSION}"
    with connect(settings) as client:
        move = partial(move_alias, client, settings, context.lake, plan.after, verb=MIGRATE_VERB, reason=reason)
        act_while_locked(context, plan.before, plan.after, partial(follow_ledger, context, plan), move)


def follow_ledger(context: RunContext, plan: CollectionMigration) -> None:
    """Bring the new collection and its ledger to the current state of the old collection's ledger."""
    lake, spark, name = context.lake, context.spark, plan.after
    date = read_served_date(lake, plan.before)
    with (
        connect(context.settings) as client,
        hold_lease(lake, name, context.settings) as lease,
        stop_on_sigterm(lease.guard.stop, name),
    ):
        head = read_ledger_head(lake, name)
        change = compare_ledgers(read_ledger(spark, lake, name), _read_wanted(context, plan, date), lease.epoch)
        check_capacity(client, context.settings, change.rows)
        ensure_successor(client, context.settings, plan.before, name, change.rows)
        if head.version and not (change.written or change.deleted) and head.high_water == date:
            return
        writer = RowWriter(context.settings, lease.guard, name)
        reconciler = Reconciler(spark, lake, client, writer, plan.model_version, plan.dimension)
        # Rows keep their snapshot dates, so the new ledger cannot tell what was served on earlier dates.
        apply_change(reconciler, change, version=head.version, date=date, high_water=date, history_start=date)


def _read_wanted(context: RunContext, plan: CollectionMigration, date: str) -> DataFrame:
    """Return the old collection's ledger; what it does not serve comes from the latest rows up to the served date."""
    ledger = read_ledger(context.spark, context.lake, plan.before)
    lacking = [] if has_groups(plan.before) else [GROUP_FIELD]
    lacking += [] if has_payload(plan.before) else [PAYLOAD_HASH_FIELD]
    if not lacking:
        return ledger
    products = context.lake.read(context.spark, PRODUCTS.name).where(F.col("date") <= date)
    known = products.join(ledger.select(*CONTENT_KEY), CONTENT_KEY, "left_semi").groupBy(*CONTENT_KEY)
    latest = known.agg(F.max_by(F.struct(*lacking), "date").alias("row")).select(*CONTENT_KEY, "row.*")
    filled = ledger.drop(*lacking).join(latest, CONTENT_KEY, "left")
    columns = {GROUP_FIELD: get_group(), PAYLOAD_HASH_FIELD: get_payload_hash()}
    return filled.withColumns(columns).select(*ledger.columns)
