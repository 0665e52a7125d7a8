"""Kills a stage of the command line at a point, from within: SIGKILL of the driver or of one of Spark's workers."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from jobs.fault_points import FOLDER_VARIABLE, KILL
from jobs.settings import Settings
from jobs.stages.runner import NIGHTLY_STAGES
from tests.faults.case import Case, Result, list_single_faults
from tests.faults.one_jvm import FaultBench
from tests.faults.points import FaultFolder
from tests.faults.shop import DATES

STAGE_SECONDS = 600


def list_kills(bench: FaultBench, count: int) -> list[Case]:
    """Return kills at points of both nights, spread over the stages in turn."""
    singles = list_single_faults(bench.reached, actions=(KILL,))
    by_stage = {stage: [case for case in singles if case.stage == stage] for stage in NIGHTLY_STAGES}
    chosen: list[Case] = []
    while len(chosen) < min(count, len(singles)):
        chosen += [cases.pop() for cases in by_stage.values() if cases]
    return chosen[:count]


def try_kill(bench: FaultBench, case: Case, folder: Path) -> Result:
    """Run the case's stage as a command until it is killed, run it again in this session, and compare."""
    began, result = time.monotonic(), Result(case.name)
    settings = bench.copy_clean(case)
    faults = FaultFolder(folder / "kill-points")
    faults.arm(*case.faults)
    try:
        result.ended = run_command(settings, case, faults.path)
        result.fired = faults.count_fired()
        result.differences = bench.finish(settings, case)
    except Exception as error:
        result.differences.append(f"the run afterwards failed: {type(error).__name__}: {str(error)[:500]}")
    shutil.rmtree(faults.path)
    result.seconds = round(time.monotonic() - began, 2)
    return result


def run_command(settings: Settings, case: Case, faults: Path) -> str:
    """Run a stage as ``moon`` does in a process of its own, and return how it ended; what it started is killed too."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MOON_")}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        environment[f"MOON_{name.upper()}"] = value if isinstance(value, str) else json.dumps(value)
    environment[FOLDER_VARIABLE] = str(faults)
    command = [sys.executable, "-m", "jobs.cli", case.stage, "--date", DATES[case.night]]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        status = process.wait(STAGE_SECONDS)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its JVM
    return "killed" if status == -signal.SIGKILL else f"exit {status}"
