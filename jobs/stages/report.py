"""Stage report: checks that no row was lost, and writes a summary of the run as a record and an HTML page.

The record is this stage's row in `runs`, which the runner writes from the result. The page is written to
``_reports/<date>/`` in the lake (`jobs.pages.report_index`). Runs that end before this stage get their page from the
runner, or, if they were killed, from the next command.
"""

from dataclasses import replace
from datetime import UTC, datetime

from jobs.errors import NightStoppedError
from jobs.pages.report_index import write_report
from jobs.pages.run_history import PUBLISHED, REPORT_STAGE, RunSummary, read_run_rows, summarise_runs
from jobs.pages.run_pictures import draw_run_pictures
from jobs.serving.rows import has_changes
from jobs.stages.row_accounting import count_fates
from jobs.state.plan_record import Plan
from jobs.state.run_context import RunContext, StageResult


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
    pictures = draw_run_pictures(context, plan) if plan.serve else None
    if pictures and pictures.neighbours_stayed is not None:
        details["neighbours_stayed"] = f"{pictures.neighbours_stayed:.4f}"
    runs = summarise_runs(read_run_rows(context.lake))
    run = _complete_summary(context, plan, runs, counts, details)
    return StageResult(counts, {**details, "page": write_report(context.lake, context.settings, run, runs, pictures)})


def _complete_summary(
    context: RunContext, plan: Plan, runs: list[RunSummary], counts: dict[str, int], details: dict[str, str]
) -> RunSummary:
    """Return the summary that the run has once this stage is recorded."""
    now = datetime.now(UTC)
    found = next((one for one in runs if one.run_id == plan.run_id), None)
    run = found or RunSummary(context.date, plan.run_id, PUBLISHED, now, now, {}, {}, {})
    known = {"detector": plan.detector_version, "serve": "yes" if plan.serve else "no"}
    ours = {name: text for name, text in run.details.items() if name not in ("stage", "error", "last_sign")}
    return replace(
        run,
        outcome=PUBLISHED,
        finished_at=now,
        counts={**plan.counts.as_dict(), **run.counts, **counts},
        seconds={name: taken for name, taken in run.seconds.items() if name != REPORT_STAGE},
        details={**ours, **known, **details},
    )


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
