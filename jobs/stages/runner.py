"""Runs stages in order and writes what they did into `runs`.

The groups are what one DAG task submits: starting a JVM and Spark costs far more than most stages do.
"""

import importlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from jobs.spark.progress import show_stage_progress
from jobs.state.run_context import RunContext, StageResult
from jobs.state.run_log import record_runs

log = logging.getLogger(__name__)

STAGE_GROUPS: dict[str, tuple[str, ...]] = {
    "prepare": ("pull", "validate", "plan"),
    "infer": ("detect", "encode"),
    "serve": ("upsert", "publish", "report"),
}
"""The stages of a night in order, grouped as the DAG submits them."""

NIGHTLY_STAGES: tuple[str, ...] = tuple(stage for group in STAGE_GROUPS.values() for stage in group)


@dataclass
class RunOutcome:
    """What a run of several stages did."""

    results: dict[str, StageResult] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def load_stage(name: str) -> Callable[[RunContext], StageResult]:
    """Return the function of a stage: ``jobs.<name>.<name>``; its imports happen only now."""
    function: Callable[[RunContext], StageResult] = getattr(importlib.import_module(f"jobs.stages.{name}"), name)
    return function


def run_stages(context: RunContext, stages: Iterable[str]) -> RunOutcome:
    """Run stages one after the other; a failing stage is recorded and ends the run.

    Args:
        context: date and means.
        stages: names out of `NIGHTLY_STAGES`, in order.

    Raises:
        MoonError: a gate, breaker or refused input, as raised by the stage.
    """
    outcome = RunOutcome()
    waiting: list[dict[str, object]] = []  # rows of stages before the plan gives the run its id
    for stage in stages:
        start, result, failure = time.monotonic(), StageResult(), ""
        log.info("%s %s begins", context.date, stage)
        try:
            with show_stage_progress(context.spark, stage):
                result = load_stage(stage)(context)
        except BaseException as error:
            failure = f"{type(error).__name__}: {error}"
            raise
        finally:
            seconds = round(time.monotonic() - start, 3)
            waiting.append(_make_run_row(stage, result, seconds, failure))
            run_id = _run_id(context, stage)
            if run_id or failure:
                record_runs(context.lake, context.date, run_id, waiting)
                waiting = []
        outcome.results[stage], outcome.seconds[stage] = result, seconds
        log.info("%s %s done in %.1f s: %s", context.date, stage, seconds, dict(result.counts))
    if waiting:
        record_runs(context.lake, context.date, "", waiting)
    return outcome


def _run_id(context: RunContext, stage: str) -> str:
    """Return the id of the frozen plan, or nothing for the stages before it."""
    if stage in ("pull", "validate"):
        return ""
    if context.apart:
        return context.apart.run_id
    from jobs.state.plan_record import read_current_plan  # noqa: PLC0415  imports Spark code

    plan = read_current_plan(context.lake, context.date)
    return plan.run_id if plan else ""


def _make_run_row(stage: str, result: StageResult, seconds: float, failure: str) -> dict[str, object]:
    details: Mapping[str, str] = {**result.details, **({"error": failure[:2000]} if failure else {})}
    return {
        "stage": stage,
        "outcome": "failed" if failure else "success",
        "counts": list(result.counts.items()),
        "seconds": seconds,
        "details": list(details.items()),
        "finished_at": datetime.now(UTC),
    }
