"""Points at which the fault harness (`tests/faults`) makes a run fail; without the harness nothing happens at them.

``MOON_FAULT_POINTS`` is not a setting: it names a folder of the harness, and no user sets it. Every process of a run,
Spark's Python workers too, appends the points that it reaches to the file ``reached`` there, and does what the file
``armed`` says. Where the variable is not set, a point costs the look at the environment: under a microsecond, a few
times for a file or a request.

A point is named after what is written and has two sides: ``commit.served:before`` and ``commit.served:after``, at
which the write is done and the writer does not know it yet.
"""

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOLDER_VARIABLE = "MOON_FAULT_POINTS"
REACHED, ARMED, FIRED, RELEASED = "reached", "armed", "fired", "released"
"""Files of the folder: points in the order in which they were reached; what is to happen at which of them; what did
happen; and whether a writer that hangs continues."""

RAISE, HANG, KILL = "raise", "hang", "kill"
"""What may happen at a point: an error; a wait until the harness lets the writer continue; SIGKILL of the process."""

HANG_POLL_SECONDS = 0.05


class InjectedFaultError(RuntimeError):
    """The harness wanted the run to fail here."""


def reach(point: str) -> None:
    """Say that a run is at a point; what the harness armed for this time there happens.

    Raises:
        InjectedFaultError: the harness wanted it.
    """
    if folder := os.environ.get(FOLDER_VARIABLE):
        _reach(Path(folder), point)


@contextmanager
def surround(write: str) -> Iterator[None]:
    """Reach the points before and after a write; after it only if it succeeded."""
    reach(f"{write}:before")
    yield
    reach(f"{write}:after")


def _reach(folder: Path, point: str) -> None:
    with (folder / REACHED).open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        occurrence = 1 + sum(line.rstrip("\n") == point for line in file)
        file.write(f"{point}\n")
        file.flush()
        armed = _read_armed(folder, point, occurrence)
        if armed:
            with (folder / FIRED).open("a") as fired:
                fired.write(f"{json.dumps({**armed, 'pid': os.getpid()})}\n")
    if armed:
        _fail(folder, armed["action"], f"{point}@{occurrence}")


def _read_armed(folder: Path, point: str, occurrence: int) -> dict[str, Any] | None:
    try:
        armed: list[dict[str, Any]] = json.loads((folder / ARMED).read_text())
    except FileNotFoundError:
        return None
    return next((one for one in armed if (one["point"], one["occurrence"]) == (point, occurrence)), None)


def _fail(folder: Path, action: str, where: str) -> None:
    if action == KILL:
        os.kill(os.getpid(), signal.SIGKILL)
    if action == HANG:
        while folder.exists() and not (folder / RELEASED).exists():
            time.sleep(HANG_POLL_SECONDS)
        return
    raise InjectedFaultError(f"the fault harness wanted a failure at {where}")
