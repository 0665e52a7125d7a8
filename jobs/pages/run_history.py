"""Reads the history of nightly runs from table `runs`: one summary for each run, also for one that did not end."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from jobs.errors import EXIT_INPUT, EXIT_INTERRUPTED, EXIT_TEMPORARY
from jobs.lake.store import Lake
from jobs.state.run_log import EXECUTION, FAILED, RUN_STAGE, STAGES_DETAIL, STARTED, SUCCESS, has_process

PUBLISHED, HELD, STOPPED, FAULT, INTERRUPTED = "published", "held", "stopped", "failed", "interrupted"
KILLED, RUNNING, PLANNED = "killed", "running", "planned"
"""Outcomes of a run: it is complete; nightly runs are held; a gate, breaker or input stopped it; a fault ended it;
somebody asked it to stop; its process is gone without an end; its process exists; its next stages are not started."""

UNFINISHED = (KILLED, RUNNING, PLANNED)
ENDED_BADLY = (HELD, STOPPED, FAULT, INTERRUPTED, KILLED)

REPORT_STAGE = "report"
RUN_STAGES = ("pull", "validate", "fetch", "plan", "detect", "encode", "upsert", "publish", REPORT_STAGE)
"""The stages of a nightly run, in order; other rows of `runs` are actions of operators."""
COUNTED_STAGES = ("pull", "validate", "plan", REPORT_STAGE)
"""The stages that count rows of the delivery; a later one replaces the numbers of the same name."""
OUT_OF_BAND_ONLY = {RUN_STAGE, "detect", "encode", "upsert"}
"""A run with no other stages belongs to a rollout, a rollback or a re-embedding: it is no nightly run."""

ERROR_TYPE, EXIT_STATUS = "error_type", "exit_status"
"""Names of the details of a failed stage: class name of the error, and the exit status of the command."""

MAX_DURATION = timedelta(hours=12)
"""A run of another machine that has not ended after this time counts as killed; the DAG ends its runs then."""

_Row = dict[str, Any]


@dataclass(frozen=True)
class RunSummary:
    """One nightly run of a date; executions with the same run id, such as a retry, are one run.

    Attributes:
        date: ISO snapshot date.
        run_id: id of its plan; empty if it ended before it had one.
        outcome: one of the outcomes of this module.
        started_at, finished_at: begin of its first and end of its last stage; the end is None while it has none.
        counts: numbers by name, of the stages pull to plan and of the report.
        seconds: seconds by stage, of each stage's last success that did work.
        details: texts by name: of its stages, and catalog and alias; of a run that ended badly also ``stage`` (where)
            and ``error``.
        stage_counts, stage_details: counts and details by stage, of the same.
        executions: number of processes that worked on it.
    """

    date: str
    run_id: str
    outcome: str
    started_at: datetime
    finished_at: datetime | None
    counts: dict[str, int]
    seconds: dict[str, float]
    details: dict[str, str]
    stage_counts: dict[str, dict[str, int]] = field(default_factory=dict)
    stage_details: dict[str, dict[str, str]] = field(default_factory=dict)
    executions: int = 1

    @property
    def state(self) -> str:
        """A text that differs when the page of the run must be written again."""
        return f"{self.outcome} {self.executions}"

    @property
    def total_seconds(self) -> float:
        """Seconds of its stages together."""
        return sum(self.seconds.values())

    @property
    def name(self) -> str:
        """Name of the run and of its page: the run id, or date and time of the start of a run without one."""
        return self.run_id or f"{self.date}-{self.started_at:%Y%m%dT%H%M%S}"


def read_history(lake: Lake, last: int = 30) -> list[RunSummary]:
    """Return the last nightly runs, the oldest first; empty for a lake without one.

    Args:
        lake: lake with table `runs`; it is not created.
        last: maximum number of runs.
    """
    return summarise_runs(read_run_rows(lake))[-last:] if last else []


def read_run_rows(lake: Lake) -> list[dict[str, Any]]:
    """Return the rows of `runs`; none for a lake without the table, which is not created."""
    rows: list[dict[str, Any]] = lake.read_arrow("runs").to_pylist()
    return rows


def summarise_runs(rows: Iterable[_Row], *, now: datetime | None = None, has_ended: bool = False) -> list[RunSummary]:
    """Return all nightly runs of rows of `runs`, the oldest first.

    Args:
        rows: rows of table `runs`.
        now: the current time, for runs of other machines.
        has_ended: whether the caller knows that no process works on a run any more.
    """
    now = now or datetime.now(UTC)
    groups = _group_rows(_open_row(row) for row in rows)
    found = [_summarise(group, now, has_ended=has_ended) for group in groups if _is_nightly(group)]
    return sorted(found, key=lambda run: (run.started_at, run.name))


def _open_row(row: _Row) -> _Row:
    """Return a row with its maps as dicts, and the time at which its stage started."""
    started_at = row["finished_at"] - timedelta(seconds=row["seconds"] or 0.0)
    return {**row, "counts": dict(row["counts"] or ()), "details": dict(row["details"] or ()), "started_at": started_at}


def _group_rows(rows: Iterable[_Row]) -> list[list[_Row]]:
    """Return the rows of each run in the order of time.

    Rows of releases before 0.4 name no execution: those without a run id are a failure before the plan, each its own.
    """
    executions: dict[str, list[_Row]] = defaultdict(list)
    for number, row in enumerate(rows):
        if row["stage"] in (RUN_STAGE, *RUN_STAGES):
            key = row["details"].get(EXECUTION) or (f"run {row['run_id']}" if row["run_id"] else f"row {number}")
            executions[key].append(row)
    runs: dict[str, list[_Row]] = defaultdict(list)
    for key, found in executions.items():
        run_id = next((row["run_id"] for row in found if row["run_id"]), "")
        runs[run_id or key] += found
    return [sorted(found, key=_order) for found in runs.values()]


def _order(row: _Row) -> tuple[datetime, bool]:
    return row["finished_at"], row["outcome"] != STARTED


def _is_nightly(rows: Sequence[_Row]) -> bool:
    """Return whether rows are a nightly run: of a plan of its own, or one that did not get so far."""
    run_id = any(row["run_id"] for row in rows)
    stages = {row["stage"] for row in rows} | {name for row in rows for name in _list_stages(row)}
    if stages <= OUT_OF_BAND_ONLY and run_id:
        return False
    # A single stage before the plan, such as `moon pull`, is part of the run that follows it.
    return run_id or any(row["outcome"] == FAILED for row in rows) or _find_missing(rows) != []


def _list_stages(row: _Row) -> list[str]:
    """Return the stages that a start record names; empty for other rows."""
    return row["details"].get(STAGES_DETAIL, "").split() if row["stage"] == RUN_STAGE else []


def _find_missing(rows: Sequence[_Row]) -> list[str]:
    """Return the stages that the last execution was to run and that have no row."""
    start = next((row for row in reversed(rows) if row["stage"] == RUN_STAGE), None)
    if start is None:
        return []
    ours = {row["stage"] for row in rows if row["details"].get(EXECUTION) == start["details"].get(EXECUTION)}
    return [stage for stage in _list_stages(start) if stage not in ours]


def _summarise(rows: Sequence[_Row], now: datetime, *, has_ended: bool) -> RunSummary:
    latest: dict[str, _Row] = {}
    for row in rows:
        if row["outcome"] == SUCCESS and (row["counts"] or row["stage"] not in latest):  # else it found all committed
            latest[row["stage"]] = row
    counts: dict[str, int] = {}
    details: dict[str, str] = {}
    for row in sorted(latest.values(), key=_order):
        details |= row["details"]
        counts |= row["counts"] if row["stage"] in COUNTED_STAGES else {}
    for row in rows:
        details |= row["details"] if row["stage"] == RUN_STAGE else {}
    outcome, ending = _judge(rows, now, has_ended=has_ended)
    return RunSummary(
        date=rows[0]["date"],
        run_id=next((row["run_id"] for row in rows if row["run_id"]), ""),
        outcome=outcome,
        started_at=min(row["started_at"] for row in rows),
        finished_at=None if outcome in UNFINISHED else rows[-1]["finished_at"],
        counts=counts,
        seconds={stage: row["seconds"] for stage, row in latest.items()},
        details={**details, **ending},
        stage_counts={stage: row["counts"] for stage, row in latest.items()},
        stage_details={stage: row["details"] for stage, row in latest.items()},
        executions=len({row["details"].get(EXECUTION) for row in rows}),
    )


def _judge(rows: Sequence[_Row], now: datetime, *, has_ended: bool) -> tuple[str, dict[str, str]]:
    """Return the outcome of a run, and the stage and error of its end if it was not a good one."""
    missing = _find_missing(rows)
    failed = next((row for row in reversed(rows) if row["outcome"] == FAILED), None)
    last = rows[-1]
    if failed is last:
        return _classify_failure(failed["details"]), {"stage": failed["stage"], **failed["details"]}
    if missing:
        start = next(row for row in reversed(rows) if row["stage"] == RUN_STAGE)
        runs_on = has_process(start["details"])
        is_over = has_ended or runs_on is False or (runs_on is None and now - start["finished_at"] > MAX_DURATION)
        return (KILLED if is_over else RUNNING), {"stage": missing[0], "last_sign": last["finished_at"].isoformat()}
    if any(row["stage"] == REPORT_STAGE and row["outcome"] == SUCCESS for row in rows):
        return PUBLISHED, {}
    return PLANNED, {}


def _classify_failure(details: dict[str, str]) -> str:
    """Return the outcome of a run whose last stage failed."""
    if details.get(ERROR_TYPE) == "RunsHeldError":
        return HELD
    status = details.get(EXIT_STATUS)
    if status in (str(EXIT_TEMPORARY), str(EXIT_INTERRUPTED)) and details.get(ERROR_TYPE) != "PhotosUnreachableError":
        return INTERRUPTED
    return STOPPED if status == str(EXIT_INPUT) or details.get(ERROR_TYPE) == "PhotosUnreachableError" else FAULT
