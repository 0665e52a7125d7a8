"""The frozen plan of a run: its header (table `plans`) and its rows (table `changes`), read and committed here."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import DataFrame

from jobs.errors import NightStoppedError
from jobs.lake.store import Lake
from jobs.lake.writing import FileSink

COUNTS = (
    "delivered", "valid", "quarantined", "new", "changed", "reuse", "deleted", "unchanged", "stale", "images",
)  # fmt: skip
"""Keys of `Plan.counts`: rows delivered = valid + quarantined, valid = new + changed + reuse + unchanged."""


@dataclass(frozen=True)
class Plan:
    """The header of a frozen plan (table `plans`); its rows are the partition ``run_id`` of `changes`.

    Attributes:
        date: ISO date of the snapshot.
        run_id: the date and 12 hex digits of what the plan was computed from.
        model_version, detector_version: who makes tonight's vectors.
        collection: where they are served.
        ledger_version: state of the collection's ledger that the plan was compared with.
        serve: False when the collection serves a later date already: vectors are made, Milvus stays as it is.
        counts: see `COUNTS`.
        override: breakers lifted for this plan and why; empty as a rule.
    """

    date: str
    run_id: str
    model_version: str
    detector_version: str
    collection: str
    ledger_version: int
    serve: bool
    counts: Mapping[str, int] = field(default_factory=dict)
    override: str = ""
    planned_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def to_encode(self) -> int:
        """Products that need a vector tonight."""
        return self.counts["new"] + self.counts["changed"]

    @property
    def served_attempt(self) -> str:
        """The attempt under which the ledger notes that this plan is served."""
        return f"upsert/{self.run_id}"

    @property
    def partition(self) -> dict[str, str]:
        """The partition of `changes` that holds this plan's rows."""
        return {"run_id": self.run_id}


def read_current_plan(lake: Lake, date: str) -> Plan | None:
    """Return the plan of a date that was frozen last; None before the first."""
    rows = lake.read_arrow("plans", {"date": date}).to_pylist()
    if not rows:
        return None
    return max((_from_row(row) for row in rows), key=lambda plan: plan.planned_at)


def require_plan(lake: Lake, date: str) -> Plan:
    """Return the plan of a date that was frozen last.

    Raises:
        NightStoppedError: there is none.
    """
    plan = read_current_plan(lake, date)
    if plan is None:
        raise NightStoppedError(f"there is no plan for {date} in this lake: run `moon prepare --date {date}`")
    return plan


def make_run_id(date: str, inputs: str) -> str:
    """Return a run id: the date and 12 hex digits of what the plan is computed from."""
    return f"{date}-{hashlib.sha256(inputs.encode()).hexdigest()[:12]}"


def commit_changes(lake: Lake, plan: Plan, changes: DataFrame, attempt: str) -> None:
    """Write and commit the rows of a plan, whatever it was made for."""
    files = lake.write(changes, "changes", plan.partition)
    lake.commit("changes", files, attempt=attempt, partition=plan.partition, mode="overwrite")


def commit_plan_header(lake: Lake, plan: Plan, attempt: str, beside: str = "") -> None:
    """Commit a plan's header: from now on it is its date's current plan.

    Args:
        lake, plan, attempt: where, what, and the work that it marks as done.
        beside: files the header under ``<date>.<beside>``: the night's own plan stays the current one.
    """
    partition = {"date": f"{plan.date}.{beside}" if beside else plan.date}
    sink = FileSink(lake.storage, "plans", partition)
    sink.write_rows([{**vars(plan), "counts": list(plan.counts.items())}])
    lake.commit("plans", sink.close(), attempt=attempt, partition=partition)


def _from_row(row: dict[str, Any]) -> Plan:
    return Plan(**{**row, "counts": dict(row["counts"])})
