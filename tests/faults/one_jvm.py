"""Tries faults in this process: a stage fails or hangs at a point, is run again, and the state is compared.

A stage reads only the catalogue, the lake and Milvus. Where the state after a repeated stage is that of a clean run,
so is what later stages make of it; the whole night is repeated for a tenth of the single faults and all combinations.
"""

import logging
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from jobs.fault_points import HANG
from jobs.lake.store import open_lake
from jobs.settings import Settings
from jobs.stages.runner import NIGHTLY_STAGES, STAGE_GROUPS, run_stages
from jobs.state.run_context import RunContext
from tests.faults.case import Case, Result
from tests.faults.points import FaultFolder
from tests.faults.shop import DATES, FaultShop
from tests.faults.state import Found, compare, read_state

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

STALLED_LEASE_SECONDS = 6
"""Lease of a run that hangs: long enough to reach the point, short enough to wait for its end."""

ARM_SECONDS, JOIN_SECONDS = 120.0, 180.0


class FaultBench:
    """A shop with two clean nights, whose state before every stage is kept and whose points are known.

    Args:
        spark: session.
        shop: the shop.
        folder: for copies of lakes; a folder of this bench alone.
        faults: folder of the points, which this process and its workers watch.
    """

    def __init__(self, spark: "SparkSession", shop: FaultShop, folder: Path, faults: FaultFolder) -> None:
        self._spark, self._shop, self._folder, self._faults = spark, shop, folder, faults
        self.reached: dict[tuple[int, str], list[tuple[str, int]]] = {}
        self.clean: dict[tuple[int, str], Found] = {}

    def record(self, nights: Sequence[int] = (0, 1)) -> None:
        """Run the nights undisturbed: keep the state before every stage, the points, and the result."""
        work = self._folder / "clean"
        work.mkdir(parents=True)
        for night in range(max(nights) + 1):
            for stage in NIGHTLY_STAGES:
                shutil.copytree(work, self._kept(night, stage))
                self._faults.arm()
                self.run(self._shop.make_settings(work), night, [stage])
                self.reached[night, stage] = self._faults.list_reached()
                self.clean[night, stage] = self._read(self._shop.make_settings(work), stage)

    def list_names(self) -> set[str]:
        """Return the names of all points that the clean nights reach."""
        return {point for found in self.reached.values() for point, _ in found}

    def try_case(self, case: Case) -> Result:
        """Run a case on a copy of the clean state, run the night again until nothing fires, and compare."""
        began, result = time.monotonic(), Result(case.name)
        settings = self.copy_clean(case)
        try:
            if case.faults[0].action == HANG:
                result.ended, result.fired = self._hang(settings, case)
            else:
                result.ended, result.fired = self._fail(settings, case)
            result.differences = self.finish(settings, case)
        except Exception as error:
            result.differences.append(f"the run afterwards failed: {type(error).__name__}: {str(error)[:500]}")
        result.seconds = round(time.monotonic() - began, 2)
        return result

    def copy_clean(self, case: Case, **options: Any) -> Settings:
        """Copy the state before the case's stage, and return settings with it."""
        work = self._folder / "case"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(self._kept(case.night, case.stage), work)
        return self._shop.make_settings(work, **options)

    def finish(self, settings: Settings, case: Case) -> list[str]:
        """Run what the case repeats, undisturbed, and return what differs from the clean run."""
        self._faults.arm()
        self.run(settings, case.night, case.again)
        return compare(self._read(settings, case.again[-1]), self.clean[case.night, case.again[-1]])

    def _fail(self, settings: Settings, case: Case) -> tuple[str, int]:
        """Run from the case's stage on, once for each fault; return how the runs ended and how many faults happened."""
        ended, fired, stages = [], 0, case.again[case.again.index(case.stage) :]
        for fault in case.faults:
            self._faults.arm(fault)
            ended.append(self.attempt(settings, case.night, stages))
            fired += self._faults.count_fired()
            stages = case.again
        return ", ".join(ended), fired

    def _hang(self, settings: Settings, case: Case) -> tuple[str, int]:
        """Run the case's stage until it hangs, let another run take over, then let the first continue."""
        stalled = settings.replace(lease_seconds=STALLED_LEASE_SECONDS)
        ended: list[str] = []
        writer = threading.Thread(target=lambda: ended.append(self.attempt(stalled, case.night, [case.stage])))
        with patch("jobs.state.lease.RENEWALS_PER_LEASE", 0.01):  # nobody renews: a stalled process does not either
            self._faults.arm(*case.faults)
            writer.start()
            self._faults.wait_until_fired(ARM_SECONDS)
            takeover = self.attempt(settings, case.night, case.again)
            self._faults.release()
            writer.join(JOIN_SECONDS)
        if writer.is_alive():
            raise RuntimeError("the run that hung did not end after it was let go")
        return f"takeover {takeover}, stalled {ended[0]}", self._faults.count_fired()

    def attempt(self, settings: Settings, night: int, stages: Sequence[str]) -> str:
        """Run stages of a night; return `done`, or the name of the error that ended them."""
        try:
            self.run(settings, night, stages)
        except Exception as error:
            logging.getLogger(__name__).info("%s", error)
            return type(error).__name__
        return "done"

    def run(self, settings: Settings, night: int, stages: Sequence[str]) -> None:
        """Run stages of a night."""
        run_stages(RunContext(self._spark, open_lake(settings), settings, DATES[night]), stages)

    def _read(self, settings: Settings, stage: str) -> Found:
        """Return the state after a stage; Milvus is looked at where a stage writes to it."""
        return read_state(settings, has_milvus=stage in STAGE_GROUPS["serve"])

    def _kept(self, night: int, stage: str) -> Path:
        return self._folder / "kept" / f"{night + 1}-{stage}"
