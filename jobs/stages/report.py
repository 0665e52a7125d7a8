"""Stage report: checks that no row was lost, and writes a summary of the run as a record and an HTML page.

The record is this stage's row in `runs`, which the runner writes from the result. The page is written to
``_reports/<date>/`` in the lake.
"""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import PurePosixPath
from typing import Any

from pyspark.sql import functions as F

from jobs.errors import NightStoppedError
from jobs.pages.page import REPORTS_FOLDER, render_page, write_page
from jobs.serving.rows import has_changes
from jobs.stages.encode import UNREAD, UNREAD_OF
from jobs.stages.row_accounting import count_fates
from jobs.state.plan_record import Plan
from jobs.state.run_context import RunContext, StageResult
from moon_model.product import TEXT_BUDGETS
from validation.reasons import Reason

RECORDED_PACKAGES = ("torch", "transformers", "onnxruntime", "pyspark", "deltalake", "pymilvus", "great-expectations")

MODEL_LIMITS = {**TEXT_BUDGETS, "images": "max_images"}
"""The key of a checkpoint's configuration that says how much of each part of a product the model reads."""


@dataclass(frozen=True)
class UnreadReport:
    """Numbers of encoded products with parts that the model truncated.

    Attributes:
        encoded: number of products that the run encoded.
        parts: for each part that exceeds the model's limit: (part, number of products, key of the limit).
    """

    encoded: int
    parts: list[tuple[str, int, str]]


@dataclass(frozen=True)
class ReasonRow:
    """One line of the table of reasons: its count, and the first and the last row concerned."""

    reason: str
    description: str
    stage: str
    what: str
    rows: int
    examples: list[str]


def report(context: RunContext, plan: Plan) -> StageResult:
    """Check the row accounting, write the page and return the counts of the run.

    Returns:
        counts: delivered, unchanged, reused, encoded, kept, quarantined, left_out, merged, deleted, held, stale,
        partial; details: run_id, model, collection and the URI of the page.

    Raises:
        NightStoppedError: the plan was not served yet, or a delivered row is unaccounted for.
    """
    _check_served(context, plan)
    counts = count_fates(context, plan)
    counts |= {"deleted": plan.counts.deleted, "held": plan.counts.held}
    details = {
        "run_id": plan.run_id,
        "model": plan.model_version,
        "collection": plan.collection,
        **({"override": plan.override} if plan.override else {}),
        **({"held": _describe_held(plan)} if plan.counts.held else {}),
        **({} if plan.serve else {"note": "an older date: it replaced and deleted nothing"}),
    }
    page = render_report(context, plan, counts, details)
    name = f"{REPORTS_FOLDER}/{context.date}/{plan.run_id}.html"
    return StageResult(counts, {**details, "page": write_page(context.lake, name, page)})


def _describe_held(plan: Plan) -> str:
    """Return a sentence with the number of held deletes and the cause."""
    unreadable = plan.counts.unreadable
    cause = (
        f"{unreadable:,} delivered rows have no readable product id"
        if unreadable
        else "an earlier delivery had rows without a readable product id"
    )
    return (
        f"{plan.counts.held:,} products that the delivery lacks stay served, because {cause}; --allow-deletes SHARE "
        "deletes them at once"
    )


def _check_served(context: RunContext, plan: Plan) -> None:
    if plan.serve and not context.lake.is_committed("served", plan.served_attempt) and has_changes(context, plan):
        raise NightStoppedError(
            f"the plan {plan.run_id} is not served yet: run `moon serve --date {context.date}`, which ends with the "
            "report"
        )


def render_report(context: RunContext, plan: Plan, counts: dict[str, int], details: dict[str, str]) -> str:
    """Return the page as one self-contained HTML document."""
    stages = read_stage_rows(context, plan)
    return render_page(
        "report.html.j2",
        date=context.date,
        plan=plan,
        counts=counts,
        details=details,
        reasons=read_reason_rows(context),
        unread=read_unread(context, plan),
        stages=stages,
        seconds=sum(row["seconds"] for row in stages),
        links=_list_links(stages),
        versions={name: version(name) for name in RECORDED_PACKAGES},
        alias=context.settings.alias,
    )


def read_reason_rows(context: RunContext) -> list[ReasonRow]:
    """Return the reasons for which rows and images were refused in the run, the most frequent first."""
    rows = context.lake.read(context.spark, "quarantine", context.refused)
    is_row = F.col("image_index").isNull()
    name = F.concat(F.lit("row "), "source_row", F.lit(" "), F.coalesce("product_id", F.lit("")))
    example = F.substring(F.concat_ws(": ", name, "detail"), 1, 300)
    grouped = rows.groupBy("reason", "stage", is_row.alias("is_row")).agg(
        F.count("*").alias("rows"),
        F.array_distinct(F.array(F.min_by(example, "source_row"), F.max_by(example, "source_row"))).alias("examples"),
    )
    return [
        ReasonRow(
            reason=row.reason,
            description=Reason[row.reason.upper()].description,
            stage=row.stage,
            what=_name_refusal(row.reason, row.is_row),
            rows=row.rows,
            examples=row.examples,
        )
        for row in grouped.orderBy(F.desc("rows"), "reason").collect()
    ]


def read_unread(context: RunContext, plan: Plan) -> UnreadReport | None:
    """Return the record of truncated parts that this run's stage encode wrote; None if there is none."""
    rows = context.lake.read_arrow("runs", context.partition).to_pylist()
    # A rerun that found the vectors committed recorded nothing.
    ours = [row for row in rows if row["run_id"] == plan.run_id and UNREAD_OF in dict(row["details"])]
    if not ours:
        return None
    details = dict(max(ours, key=lambda row: row["finished_at"])["details"])
    found = [(part, int(details.get(f"{UNREAD}{part}", 0)), limit) for part, limit in MODEL_LIMITS.items()]
    return UnreadReport(int(details[UNREAD_OF]), [one for one in found if one[1]])


def _name_refusal(reason: str, is_row: bool) -> str:
    if reason == Reason.PRODUCT_KEPT:
        return "products kept as they were"
    return "rows refused" if is_row else "images left out"


def read_stage_rows(context: RunContext, plan: Plan) -> list[dict[str, Any]]:
    """Return this run's rows of `runs`: the last success of each stage, in the order of execution."""
    rows = context.lake.read_arrow("runs", context.partition).to_pylist()
    ours = [row for row in rows if row["run_id"] == plan.run_id and row["outcome"] == "success"]
    latest = {row["stage"]: row for row in sorted(ours, key=lambda row: row["finished_at"]) if row["stage"] != "report"}
    return [
        {**row, "counts": dict(row["counts"]), "details": dict(row["details"])}
        for row in sorted(latest.values(), key=lambda row: row["finished_at"])
    ]


def _list_links(stages: list[dict[str, Any]]) -> dict[str, str]:
    """Return links to the pages that stages wrote to the lake, relative to this page."""
    found = {row["stage"]: row["details"].get("data_docs") for row in stages}
    return {
        f"{stage}: data docs": "../../" + "/".join(PurePosixPath(page).parts[-3:])
        for stage, page in found.items()
        if page
    }
