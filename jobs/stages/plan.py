"""plan: what tonight must do, frozen before anything is done.

Compares tonight's products with the ledger of the collection (`jobs.state.changes`), stops at the breakers
(`jobs.stages.breakers`) and prints the estimate (`jobs.stages.estimate`). Everything after it works on the frozen plan:
a rerun or a twin computes the same run id from the same inputs and finds the plan done.
"""

from dataclasses import replace
from datetime import UTC, datetime
from datetime import date as Date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.errors import NightStoppedError
from jobs.lake.store import Lake
from jobs.milvus.client import connect
from jobs.spark.row_counts import count_frames
from jobs.stages.breakers import check_breakers
from jobs.stages.estimate import estimate_run
from jobs.state.changes import DELETED, ENCODED_OPS, OPS, compare_with_ledger, select_stale
from jobs.state.hold import check_not_held
from jobs.state.ledger import read_highwater_date, read_ledger, read_ledger_version
from jobs.state.model_registry import ModelChoice, choose_model, register_model
from jobs.state.plan_record import (
    COUNTS,
    Plan,
    _from_row,
    commit_changes,
    commit_plan_header,
    make_run_id,
    require_plan,
)
from jobs.state.run_context import RunContext, StageResult


def plan(context: RunContext) -> StageResult:
    """Freeze tonight's plan, or find it frozen.

    Commits the rows (`changes`) first and the header (`plans`) last: the header is the mark.

    Raises:
        NightHeldError: nights are held after a restore.
        NightStoppedError: nothing was validated for the date, a breaker tripped, or the model is not the served one.
    """
    check_not_held(context.lake)
    with connect(context.settings) as client:
        model = choose_model(context.settings, client)
    draft = draft_plan(context, model)
    attempt = f"plan/{draft.run_id}"
    if not context.lake.is_committed("plans", attempt):
        register_model(context.lake, model)
        freeze_changes(context, draft, attempt)
        counts = count_plan(context, draft, model.max_images)
        override = check_breakers(
            context,
            deleted=counts["deleted"],
            served=counts["served"],
            refused=counts["quarantined"],
            delivered=counts["delivered"],
        )
        header = replace(draft, counts={name: counts[name] for name in COUNTS}, override=override)
        commit_plan_header(context.lake, header, attempt)
    return _result(context.lake, _make_current(context.lake, draft))


def draft_plan(context: RunContext, model: ModelChoice, purpose: str = "") -> Plan:
    """Return a plan's header without its counts; all of it but the hour follows from committed state.

    Args:
        context: its date, whose products are validated.
        model: whose collection is to hold them.
        purpose: what the plan is for, if not the night's own: such a plan has a run id of its own.

    Raises:
        NightStoppedError: nothing was validated for the date.
    """
    validated = context.lake.read_transaction_version("products", f"scope:date={context.date}")
    if not validated:
        raise NightStoppedError(f"nothing is validated for {context.date}: run `moon prepare --date {context.date}`")
    ledger = read_ledger_version(context.lake, model.collection)
    served_date = read_highwater_date(context.lake, model.collection)
    inputs = f"{purpose}{validated}/{model.model_version}/{model.collection}/{ledger}"
    return Plan(
        date=context.date,
        run_id=make_run_id(context.date, inputs),
        model_version=model.model_version,
        detector_version=model.detector_version,
        collection=model.collection,
        ledger_version=ledger,
        serve=served_date is None or Date.fromisoformat(context.date) >= served_date,
    )


def _read_inputs(context: RunContext, draft: Plan) -> tuple[DataFrame, DataFrame, DataFrame]:
    """Return tonight's products, the ledger and the rows that validation refused."""
    refused = context.lake.read(context.spark, "quarantine", {**context.partition, "stage": "validate"})
    return (
        context.lake.read(context.spark, "products", context.partition),
        read_ledger(context.spark, context.lake, draft.collection),
        refused.where(F.col("image_index").isNull()),
    )


def freeze_changes(context: RunContext, draft: Plan, attempt: str) -> None:
    """Commit the rows of a plan (`changes`)."""
    products, ledger, refused = _read_inputs(context, draft)
    vectors = context.lake.read(context.spark, "vectors", {"model_version": draft.model_version})
    whole = vectors.where(~F.col("partial"))
    changes = compare_with_ledger(products, ledger, refused, whole, date=context.date, with_deletes=draft.serve)
    commit_changes(context.lake, draft, changes, attempt)


def count_plan(context: RunContext, draft: Plan, max_images: int) -> dict[str, int]:
    """Return the counts of a plan's committed changes (`COUNTS`), and "served": products in the ledger."""
    products, ledger, refused = _read_inputs(context, draft)
    changes = context.lake.read(context.spark, "changes", draft.partition)
    encoded = products.join(changes.where(F.col("op").isin(*ENCODED_OPS)), "product_id", "left_semi")
    counts = count_frames(
        {
            "delivered": context.lake.read(context.spark, "snapshots", context.partition),
            "valid": products,
            "quarantined": refused,
            **{op: changes.where(F.col("op") == op) for op in OPS},
            "stale": select_stale(products, ledger, refused).where(F.lit(draft.serve)),
            "images": encoded.select(F.explode(F.slice("images", 1, max_images))),
            "served": ledger,
        }
    )
    counts["unchanged"] = counts["valid"] - sum(counts[op] for op in OPS if op != DELETED)
    return counts


def _make_current(lake: Lake, draft: Plan) -> Plan:
    """Return the frozen plan of a run id after making sure that it is its date's current one.

    It is not where the alias went to another model and back on one date: then its header is written once more.
    """
    latest = require_plan(lake, draft.date)
    if latest.run_id == draft.run_id:
        return latest
    rows = lake.read_arrow("plans", {"date": draft.date}).to_pylist()
    frozen = next(_from_row(row) for row in rows if row["run_id"] == draft.run_id)
    again = replace(frozen, planned_at=datetime.now(UTC))
    commit_plan_header(lake, again, f"plan/{draft.run_id}/after/{latest.run_id}/{latest.planned_at.isoformat()}")
    return again


def _result(lake: Lake, plan: Plan) -> StageResult:
    work = estimate_run(lake, plan.model_version, plan.to_encode, plan.counts["images"])
    details = {
        "run_id": plan.run_id,
        "model": plan.model_version,
        "collection": plan.collection,
        "serve": "yes" if plan.serve else "no: the collection serves a later date",
        "estimate": str(work),
    }
    return StageResult(plan.counts, {**details, **({"override": plan.override} if plan.override else {})})
