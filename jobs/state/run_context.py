"""Input and result types of every stage: `RunContext` and `StageResult`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jobs.lake.store import Lake
from jobs.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NIGHTLY = "nightly"
"""Purpose of a date's own plan, and of the quarantine rows of its run."""


@dataclass(frozen=True)
class RunContext:
    """Snapshot date, Spark session, lake and settings of a run.

    Attributes:
        spark: session of the job.
        lake: tables that the run reads and writes.
        settings: all other settings.
        date: ISO date of the snapshot.
        allow_deletes, allow_refusals, allow_shift: shares that lift a breaker for this run (None: the setting applies).
        refetch: whether the stage fetch requests photos again that failed on the date.
        reason: reason for lifting a breaker or starting an operation; recorded with the run.
    """

    spark: "SparkSession"
    lake: Lake
    settings: Settings
    date: str
    allow_deletes: float | None = None
    allow_refusals: float | None = None
    allow_shift: float | None = None
    refetch: bool = False
    reason: str = ""

    @property
    def partition(self) -> dict[str, str]:
        """The partition of the tables that are partitioned by date alone."""
        return {"date": self.date}

    @property
    def refused(self) -> dict[str, str]:
        """The partitions of `quarantine` that the date's own run fills."""
        return {"date": self.date, "purpose": NIGHTLY}

    def quarantine_partition(self, stage: str, purpose: str = NIGHTLY) -> dict[str, str]:
        """Return the partition of `quarantine` that a stage fills for a plan of this purpose."""
        return {"date": self.date, "purpose": purpose, "stage": stage}


@dataclass(frozen=True)
class StageResult:
    """Result of a stage.

    Attributes:
        counts: numbers for the run log.
        details: texts for the run log and for the user.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)
