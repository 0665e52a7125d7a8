"""One night: what every stage is given, what it gives back, and the groups of stages that a DAG task submits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jobs.errors import NightStoppedError
from jobs.lake.store import Lake
from jobs.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from jobs.state.plan_record import Plan


@dataclass(frozen=True)
class RunContext:
    """The snapshot date being embedded and the means to do it.

    Attributes:
        date: ISO date of the snapshot.
        allow_deletes, allow_refusals, allow_shift: shares that lift a breaker for this run (None: the setting stands).
        reason: why; recorded with the run.
        apart: a plan of a re-embedding (`jobs.operations.reembed`) or of catching a collection up
            (`jobs.operations.catch_up`), worked on beside the date's own night: detect, encode and upsert take it in the place of the date's current plan.
            None as a rule.
    """

    spark: "SparkSession"
    lake: Lake
    settings: Settings
    date: str
    allow_deletes: float | None = None
    allow_refusals: float | None = None
    allow_shift: float | None = None
    reason: str = ""
    apart: "Plan | None" = None

    @property
    def partition(self) -> dict[str, str]:
        """The partition of the tables that are partitioned by date alone."""
        return {"date": self.date}

    def quarantine(self, stage: str) -> dict[str, str]:
        """The partition of `quarantine` that a stage fills.

        What a re-embedding refuses is filed under ``<date>.<model>``: it says nothing about the night of that date.
        """
        date = f"{self.date}.{self.apart.model_version[:8]}" if self.apart else self.date
        return {"date": date, "stage": stage}


@dataclass(frozen=True)
class StageResult:
    """What a stage did: numbers for the record and words for people."""

    counts: Mapping[str, int] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)


__all__ = ["NightStoppedError", "RunContext", "StageResult"]
