"""Stage plan: freezes the list of changes that a run makes, before any change is made.

The products of the date are compared with the ledger of the collection (`jobs.state.changes`). Breakers stop an
unlikely plan (`jobs.stages.breakers`), and the work is estimated (`jobs.stages.estimate`). The later stages work on
the frozen plan. A rerun or a concurrent duplicate run computes the same run id from the same inputs and finds the plan
committed.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.catalog.source import load_mapping
from jobs.errors import NightStoppedError
from jobs.images.rekeying import copy_rekeyed_vectors
from jobs.lake.store import Lake
from jobs.milvus.client import connect
from jobs.stages.breakers import check_breakers
from jobs.stages.estimate import estimate_run
from jobs.stages.fetch import check_fetched
from jobs.state.changes import HELD, compare_with_ledger, select_stale
from jobs.state.held_deletes import hold_deletes, select_unreadable
from jobs.state.hold import check_not_held
from jobs.state.ledger import read_ledger, read_ledger_head
from jobs.state.model_registry import ModelChoice, choose_model, register_model
from jobs.state.model_store import store_model
from jobs.state.plan_record import (
    Plan,
    commit_plan_header,
    find_last_served_plan,
    freeze_plan,
    make_out_of_band_purpose,
    make_plan,
    read_plans,
    require_plan,
)
from jobs.state.run_context import RunContext, StageResult
from schemas.collection import has_groups, has_payload
from schemas.tables import LEFT_OUT, MERGED, ROW_ROLES


def plan(context: RunContext, _plan: Plan | None = None) -> StageResult:
    """Freeze the plan of the date, unless it is frozen already, and return its counts.

    Commits the rows (`changes`) first and the header (`plans`) last: the header marks the plan as frozen.

    Raises:
        RunsHeldError: runs are held after a restore.
        NightStoppedError: nothing was validated for the date, a breaker tripped, or the model is not the served one.
    """
    check_not_held(context.lake)
    check_fetched(context)
    with connect(context.settings) as client:
        model = choose_model(context.settings, client, context.lake)
    draft = draft_plan(context, model)
    if context.allow_deletes is not None and _has_held(context.lake, draft):
        draft = draft_plan(context, model, releases_held=True)
    attempt = f"plan/{draft.run_id}"
    if not context.lake.is_committed("plans", attempt):
        register_model(context.lake, model)
        store_model(context.lake.storage, model.model_version, model.uri, model.detector)
        # An attempt without the override may have committed rows with held deletes before a breaker stopped it.
        rows_attempt = attempt if context.allow_deletes is None else f"{attempt}/released"
        frozen = freeze_comparison(context, draft, rows_attempt, model.max_images)
        counts = frozen.counts
        # A few deletes and refusals pass every breaker: the ledger is counted only if there are more.
        absent = counts.deleted + counts.held
        is_large = max(absent, counts.quarantined) > context.settings.breaker_floor
        served = read_ledger(context.spark, context.lake, draft.collection).count() if is_large else 0
        override = check_breakers(
            context,
            deleted=absent,
            served=served,
            refused=counts.quarantined,
            delivered=counts.judged,
            accepted_share=_find_accepted_share(context.lake) if is_large else None,
        )
        commit_plan_header(context.lake, replace(frozen, override=override), attempt)
    return _make_result(context.lake, _make_current(context.lake, draft))


def draft_plan(
    context: RunContext, model: ModelChoice, *, is_catch_up: bool = False, releases_held: bool = False
) -> Plan:
    """Return a plan's header without its counts; all fields except the time are derived from committed state.

    Args:
        context: run context of a date whose products are validated.
        model: model and collection of the plan.
        is_catch_up: whether the plan brings a collection to the state of another one, whatever its own date.
        releases_held: whether the plan executes the deletes that a previous plan of the same state held.

    Raises:
        NightStoppedError: nothing was validated for the date.
    """
    validated = context.lake.read_partition_version("products", context.partition)
    if not validated:
        raise NightStoppedError(f"nothing is validated for {context.date}: run `moon prepare --date {context.date}`")
    head = read_ledger_head(context.lake, model.collection)
    inputs = f"{validated}/{model.model_version}/{model.collection}/{head.version}"
    if releases_held:
        inputs += "/held deletes released"
    if is_catch_up:
        purpose = make_out_of_band_purpose(model.model_version)
        return make_plan(
            context.date, model, f"catch-up/{inputs}", ledger_version=head.version, serve=True, purpose=purpose
        )
    serve = head.high_water is None or context.date >= head.high_water
    return make_plan(context.date, model, inputs, ledger_version=head.version, serve=serve)


def freeze_comparison(context: RunContext, draft: Plan, attempt: str, max_images: int) -> Plan:
    """Freeze the differences between the date's products and the ledger; return the plan with its counts."""
    lake, spark = context.lake, context.spark
    products = lake.read(spark, "products", context.partition)
    ledger = read_ledger(spark, lake, draft.collection)
    quarantine = lake.read(spark, "quarantine", context.quarantine_partition("validate"))
    refused = quarantine.where(F.col("image_index").isNull())
    _take_over_vectors(context, draft, ledger)
    has_roles = lake.count(ROW_ROLES.name, context.partition) > 0
    has_refused = lake.count("quarantine", context.quarantine_partition("validate")) > 0
    unreadable = select_unreadable(refused, ledger) if has_refused else None

    def compare() -> DataFrame:
        vectors = lake.read(spark, "vectors", {"model_version": draft.model_version})
        whole = vectors.where(~F.col("partial"))
        changes = compare_with_ledger(
            products,
            ledger,
            refused,
            whole,
            date=context.date,
            with_deletes=draft.serve,
            with_groups=has_groups(draft.collection),
            with_payload=has_payload(draft.collection),
        )
        return hold_deletes(context, draft, changes, unreadable)

    def count() -> Mapping[str, DataFrame]:
        held = lake.read(spark, "changes", draft.partition).where(F.col("op") == HELD).select("product_id")
        roles = lake.read(spark, ROW_ROLES.name, context.partition)
        by_role = {role: roles.where(F.col("role") == role) for role in (MERGED, LEFT_OUT)} if has_roles else {}
        return {
            **by_role,
            "delivered": lake.read(spark, "snapshots", context.partition),
            "valid": products,
            "quarantined": refused,
            **({} if unreadable is None else {"unreadable": unreadable}),
            "stale": select_stale(products, ledger, refused).where(F.lit(draft.serve)).unionByName(held),
        }

    return freeze_plan(context, draft, attempt, compare, max_images=max_images, count=count)


def _take_over_vectors(context: RunContext, draft: Plan, ledger: DataFrame) -> None:
    """Copy vectors to new content hashes of products whose photos are identified by their bytes now."""
    settings = context.settings
    if settings.image_store == "all" or settings.image_version == "sha256" or _has_version_column(context):
        attempt = f"rekey/{draft.run_id}"
        copy_rekeyed_vectors(
            context.spark, context.lake, context.date, draft.model_version, ledger=ledger, attempt=attempt
        )


def _has_version_column(context: RunContext) -> bool:
    """Return whether the catalogue gives versions of photos; they may be the SHA-256 of the bytes."""
    settings = context.settings
    if not settings.catalog or settings.allowed_roots:  # with roots of its own an operation needs no mapping
        return False
    images = load_mapping(context).images
    return images is not None and images.version_column is not None


def _has_held(lake: Lake, draft: Plan) -> bool:
    """Return whether the plan was frozen before with held deletes."""
    return any(plan.run_id == draft.run_id and plan.counts.held for plan in read_plans(lake, draft.date))


def _find_accepted_share(lake: Lake) -> float | None:
    """Return the share of refused rows in the run that was served last; None before the first."""
    last = find_last_served_plan(lake)
    return None if last is None else last.counts.quarantined / max(last.counts.judged, 1)


def _make_current(lake: Lake, draft: Plan) -> Plan:
    """Return the frozen plan of a run id, after making it the current plan of its date.

    It is not the current one if the alias moved to another model and back on one date. Its header is then written
    again.
    """
    latest = require_plan(lake, draft.date)
    if latest.run_id == draft.run_id:
        return latest
    frozen = next(one for one in read_plans(lake, draft.date) if one.run_id == draft.run_id)
    again = replace(frozen, planned_at=datetime.now(UTC))
    commit_plan_header(lake, again, f"plan/{draft.run_id}/after/{latest.run_id}/{latest.planned_at.isoformat()}")
    return again


def _make_result(lake: Lake, plan: Plan) -> StageResult:
    work = estimate_run(lake, plan.model_version, plan.counts)
    details = {
        "run_id": plan.run_id,
        "model": plan.model_version,
        "collection": plan.collection,
        "serve": "yes" if plan.serve else "no: the collection serves a later date",
        "estimate": str(work),
    }
    return StageResult(plan.counts.as_dict(), {**details, **({"override": plan.override} if plan.override else {})})
