"""The folder of `jobs.fault_points` as the harness sees it: arms a fault, and reads what was reached and what fired."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobs import fault_points
from jobs.fault_points import ARMED, FIRED, FOLDER_VARIABLE, REACHED, RELEASED

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class Fault:
    """What happens at the n-th time that a run is at a point."""

    point: str
    occurrence: int
    action: str

    def __str__(self) -> str:
        return f"{self.action} {self.point}@{self.occurrence}"


class FaultFolder:
    """One folder, emptied before each case; `jobs.fault_points` describes its files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    def arm(self, *faults: Fault) -> None:
        """Forget what was reached, and arm some faults; none: points are only recorded."""
        for name in (ARMED, FIRED, REACHED, RELEASED):
            (self.path / name).unlink(missing_ok=True)
        (self.path / ARMED).write_text(json.dumps([asdict(fault) for fault in faults]))

    def disarm(self) -> None:
        (self.path / ARMED).unlink(missing_ok=True)

    def release(self) -> None:
        """Let writers that hang continue."""
        (self.path / RELEASED).touch()

    def list_reached(self) -> list[tuple[str, int]]:
        """Return the points in the order in which they were reached, each with its occurrence."""
        seen, found = Counter[str](), []
        for point in self._read(REACHED):
            seen[point] += 1
            found.append((point, seen[point]))
        return found

    def count_fired(self) -> int:
        return len(self._read(FIRED))

    def wait_until_fired(self, seconds: float) -> bool:
        """Wait until a fault has happened; return whether one did."""
        ends = time.monotonic() + seconds
        while not self.count_fired() and time.monotonic() < ends:
            time.sleep(fault_points.HANG_POLL_SECONDS)
        return self.count_fired() > 0

    def _read(self, name: str) -> list[str]:
        path = self.path / name
        return path.read_text().splitlines() if path.exists() else []


@contextmanager
def watch_points(spark: "SparkSession", folder: FaultFolder) -> Iterator[None]:
    """Let this process and its Spark workers use the folder; a running session starts new workers for it."""
    workers = spark.sparkContext.environment
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER_VARIABLE, str(folder.path))
        patch.setitem(workers, FOLDER_VARIABLE, str(folder.path))
        yield
