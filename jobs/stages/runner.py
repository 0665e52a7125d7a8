"""Runs stages in order and writes what they did into `runs`.

The groups are what one DAG task submits: starting a JVM and Spark costs far more than most stages do.
"""

import importlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from jobs.spark.progress import stage_progress
from jobs.state.run_context import Night, StageResult
from jobs.state.run_log import record

log = logging.getLogger(__name__)

GROUPS: dict[str, tuple[str, ...]] = {
    "prepare": ("pull", "validate", "plan"),
    "infer": ("detect", "encode"),
    "serve": ("upsert", "publish", "report"),
}
"""The stages of a night in order, grouped as the DAG submits them."""

NIGHT: tuple[str, ...] = tuple(stage for group in GROUPS.values() for stage in group)


@dataclass
class Outcome:
    """What a run of several stages did."""

    results: dict[str, StageResult] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def stage_function(name: str) -> Callable[[Night], StageResult]:
    """Return the function of a stage: ``jobs.<name>.<name>``; its imports happen only now."""
    function: Callable[[Night], StageResult] = getattr(importlib.import_module(f"jobs.stages.{name}"), name)
    return function


def run_stages(night: Night, stages: Iterable[str]) -> Outcome:
    """Run stages one after the other; a failing stage is recorded and ends the run.

    Args:
        night: date and means.
        stages: names out of `NIGHT`, in order.

    Raises:
        MoonError: a gate, breaker or refused input, as raised by the stage.
    """
    outcome = Outcome()
    waiting: list[dict[str, object]] = []  # rows of stages before the plan gives the run its id
    for stage in stages:
        start, result, failure = time.monotonic(), StageResult(), ""
        log.info("%s %s begins", night.date, stage)
        try:
            with stage_progress(night.spark, stage):
                result = stage_function(stage)(night)
        except BaseException as error:
            failure = f"{type(error).__name__}: {error}"
            raise
        finally:
            seconds = round(time.monotonic() - start, 3)
            waiting.append(_row(stage, result, seconds, failure))
            run_id = _run_id(night, stage)
            if run_id or failure:
                record(night.lake, night.date, run_id, waiting)
                waiting = []
        outcome.results[stage], outcome.seconds[stage] = result, seconds
        log.info("%s %s done in %.1f s: %s", night.date, stage, seconds, dict(result.counts))
    if waiting:
        record(night.lake, night.date, "", waiting)
    return outcome


def _run_id(night: Night, stage: str) -> str:
    """Return the id of the frozen plan, or nothing for the stages before it."""
    if stage in ("pull", "validate"):
        return ""
    if night.apart:
        return night.apart.run_id
    from jobs.state.plan_record import current_plan  # noqa: PLC0415  imports Spark code

    plan = current_plan(night.lake, night.date)
    return plan.run_id if plan else ""


def _row(stage: str, result: StageResult, seconds: float, failure: str) -> dict[str, object]:
    details: Mapping[str, str] = {**result.details, **({"error": failure[:2000]} if failure else {})}
    return {
        "stage": stage,
        "outcome": "failed" if failure else "success",
        "counts": list(result.counts.items()),
        "seconds": seconds,
        "details": list(details.items()),
        "finished_at": datetime.now(UTC),
    }
