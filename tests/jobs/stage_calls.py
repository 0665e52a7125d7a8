"""Stages that need a plan, as functions of a context only: the runner resolves the plan, as in a run."""

from jobs.stages.runner import run_stage
from jobs.state.plan_record import Plan
from jobs.state.run_context import RunContext, StageResult


def detect(context: RunContext, plan: Plan | None = None) -> StageResult:
    return run_stage(context, "detect", plan)


def encode(context: RunContext, plan: Plan | None = None) -> StageResult:
    return run_stage(context, "encode", plan)


def upsert(context: RunContext, plan: Plan | None = None) -> StageResult:
    return run_stage(context, "upsert", plan)


def publish(context: RunContext, plan: Plan | None = None) -> StageResult:
    return run_stage(context, "publish", plan)


def report(context: RunContext, plan: Plan | None = None) -> StageResult:
    return run_stage(context, "report", plan)
