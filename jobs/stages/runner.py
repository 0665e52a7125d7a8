"""Runs stages in order and records their results in `runs`.

One DAG task submits one group of stages, because starting a JVM and Spark takes longer than most stages.
"""

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from jobs.errors import EXIT_FAULT, EXIT_INTERRUPTED, REPORT_NOTE, MoonError
from jobs.log_file import LOG_FILE
from jobs.pages.report_index import refresh_reports, write_report_of_execution
from jobs.pages.run_history import ERROR_TYPE, EXIT_STATUS, STOPPED, RunSummary
from jobs.pages.run_pictures import RunPictures, draw_run_refusals
from jobs.settings import has_credentials
from jobs.spark.failure_causes import explain_failures
from jobs.spark.progress import describe_counts, show_stage_progress
from jobs.spark.worker_errors import summarise_failure
from jobs.stages.detect import detect
from jobs.stages.encode import encode
from jobs.stages.fetch import fetch
from jobs.stages.plan import plan
from jobs.stages.publish import publish
from jobs.stages.pull import pull
from jobs.stages.report import report
from jobs.stages.upsert import upsert
from jobs.stages.validate import validate
from jobs.state.plan_record import Plan, read_current_plan, require_plan
from jobs.state.run_context import RunContext, StageResult
from jobs.state.run_lock import hold_run_lock
from jobs.state.run_log import EXECUTION, FAILED, RunRow, make_run_row, make_start_row, record_runs

log = logging.getLogger(__name__)

Stage = Callable[[RunContext, Any], StageResult]
"""A stage: (context, plan) -> result. The plan is None for the stages that come before it is frozen."""

STAGES: dict[str, Stage] = {
    "pull": pull,
    "validate": validate,
    "fetch": fetch,
    "plan": plan,
    "detect": detect,
    "encode": encode,
    "upsert": upsert,
    "publish": publish,
    "report": report,
}
"""The stages of a nightly run by name, in order."""

STAGE_GROUPS: dict[str, tuple[str, ...]] = {
    "prepare": ("pull", "validate", "fetch", "plan"),
    "infer": ("detect", "encode"),
    "serve": ("upsert", "publish", "report"),
}
"""The stages in the groups that the DAG submits."""

MAX_ERROR = 2000
"""Characters of a failure in `runs`."""

NIGHTLY_STAGES = tuple(STAGES)

OUT_OF_BAND_STAGES = ("detect", "encode", "upsert")
"""The stages that bring a collection to the state of an out-of-band plan."""


@dataclass
class RunOutcome:
    """Results of a run of several stages.

    Attributes:
        results: result by stage.
        seconds: time by stage.
    """

    results: dict[str, StageResult] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def run_stage(context: RunContext, stage: str, plan: Plan | None = None) -> StageResult:
    """Run one stage and return its result, without a record in `runs`.

    Args:
        context: date, lake, session and settings.
        stage: a name of `STAGES`.
        plan: plan to work on; None: the date's own current plan.

    Raises:
        MoonError: a gate, breaker or refused input, as raised by the stage; or there is no plan yet.
    """
    return _execute(context, stage, _resolve_plan(context, stage, plan))


def run_stages(context: RunContext, stages: Iterable[str], plan: Plan | None = None) -> RunOutcome:
    """Run stages one after the other and return their results; a failing stage is recorded and ends the run.

    Args:
        context: date, lake, session and settings.
        stages: names of `STAGES`, in order.
        plan: an out-of-band plan to work on; None: the date's own current plan.

    Raises:
        MoonError: a gate, breaker or refused input, as raised by the stage.
    """
    outcome = RunOutcome()
    names, execution = list(stages), uuid.uuid4().hex
    waiting: list[RunRow] = []  # rows of stages before the plan gives the run its id
    run_id = _record_start(context, execution, names, plan)
    for stage in names:
        started = time.monotonic()
        log.info("%s %s begins", context.date, stage)
        try:
            with show_stage_progress(context.spark, stage), explain_failures(context.lake.storage):
                plan = _resolve_plan(context, stage, plan)
                result = _execute(context, stage, plan)
        except BaseException as error:
            details = {**_describe_failure(error), EXECUTION: execution}
            seconds = time.monotonic() - started
            waiting.append(make_run_row(stage, {}, details, seconds=seconds, outcome=FAILED))
            _record_failure(context, plan.run_id if plan else run_id, waiting)
            _write_page_of_failure(context, execution, error)
            raise
        seconds = time.monotonic() - started
        waiting.append(make_run_row(stage, result.counts, {**result.details, EXECUTION: execution}, seconds=seconds))
        run_id = plan.run_id if plan else result.details.get("run_id", run_id)
        if run_id:
            record_runs(context.lake, context.date, run_id, waiting)
            waiting = []
        outcome.results[stage] = result
        outcome.seconds[stage] = round(seconds, 3)
        log.info("%s %s done in %.1f s: %s", context.date, stage, seconds, describe_counts(result.counts))
    if waiting:
        record_runs(context.lake, context.date, "", waiting)
    return outcome


def _record_start(context: RunContext, execution: str, stages: Sequence[str], plan: Plan | None) -> str:
    """Record that this process starts, write the pages of killed runs; return the id of the run if it has one yet.

    Raises:
        MoonError: the lake is damaged or of another release. Any other failure stops no run: its first stage meets it.
    """
    lake, settings = context.lake, context.settings
    catalog = (settings.catalog or "").replace("{date}", context.date)
    details = {"alias": settings.alias, **({"catalog": catalog} if catalog and not has_credentials(catalog) else {})}
    run_id = ""
    try:
        if plan is None and stages[0] not in STAGE_GROUPS["prepare"]:
            plan = read_current_plan(lake, context.date)
        run_id = plan.run_id if plan else ""
        record_runs(lake, context.date, run_id, [make_start_row(execution, stages, details)])
    except MoonError:
        raise
    except Exception as error:  # any store error
        LOG_FILE.keep_traceback(f"the start of {context.date} could not be recorded in `runs`", error)
    refresh_reports(lake, settings)
    return run_id


def _describe_failure(error: BaseException) -> dict[str, str]:
    """Return the details of a failed stage."""
    said = f"{type(error).__name__}: {error}" if isinstance(error, MoonError) else summarise_failure(error)
    status = EXIT_INTERRUPTED if isinstance(error, KeyboardInterrupt) else getattr(error, "exit_status", EXIT_FAULT)
    facts = error.facts if isinstance(error, MoonError) else {}
    return {**facts, "error": said[:MAX_ERROR], ERROR_TYPE: type(error).__name__, EXIT_STATUS: str(status)}


def _write_page_of_failure(context: RunContext, execution: str, error: BaseException) -> None:
    """Write the page of a run that ends with an error, and note its place on the error; it hides no failure."""
    try:
        draw = partial(_draw_refusals, context)
        if page := write_report_of_execution(context.lake, context.settings, execution, draw):
            error.add_note(f"{REPORT_NOTE}{page}")
    except Exception as fault:  # any store error
        LOG_FILE.keep_traceback(f"the page of {context.date} could not be written", fault)


def _draw_refusals(context: RunContext, run: RunSummary) -> RunPictures | None:
    """Return pictures of what a stopped run refused; None if it refused nothing, or Spark may be gone."""
    if run.outcome == STOPPED and run.counts.get("quarantined"):
        return RunPictures(refused=draw_run_refusals(context))
    return None


def _execute(context: RunContext, stage: str, plan: Plan | None) -> StageResult:
    """Run a stage; one that uses a GPU waits until no other process of this machine computes the same run."""
    if plan is None or stage not in STAGE_GROUPS["infer"]:
        return STAGES[stage](context, plan)
    with hold_run_lock(context.lake.storage, plan.run_id):
        return STAGES[stage](context, plan)


def _record_failure(context: RunContext, run_id: str, rows: list[RunRow]) -> None:
    """Record a failed run; a lake that cannot be written hides neither the failure nor its exit status."""
    try:
        record_runs(context.lake, context.date, run_id, rows)
    except Exception as error:  # any store error
        LOG_FILE.keep_traceback(f"the failure of {context.date} could not be recorded in `runs`", error)


def _resolve_plan(context: RunContext, stage: str, plan: Plan | None) -> Plan | None:
    """Return the plan that a stage works on; None for the stages before there is one."""
    if plan is not None or stage in STAGE_GROUPS["prepare"]:
        return plan
    return require_plan(context.lake, context.date)
