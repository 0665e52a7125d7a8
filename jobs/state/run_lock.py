"""Lets one process of a machine compute a run at a time, so that two do not share a GPU and its memory.

Two processes that compute the same run have the effect of one, in twice the time. They meet where Airflow retries a
task whose application still runs, or where a person starts the same run again. The second waits here; it then finds
what the first has committed. The lock is the kernel's (flock): it ends with the process that holds it. Runs of other
dates and operations do not wait for each other.
"""

import fcntl
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from jobs.lake.storage import Storage

log = logging.getLogger(__name__)

LOCK_POLL_SECONDS = 1.0
LOCK_LOG_SECONDS = 15.0


@contextmanager
def hold_run_lock(storage: Storage, run_id: str) -> Iterator[None]:
    """Hold this machine's lock of a run during the block, waiting while another process holds it.

    It waits without limit, because the other one works on the same run; a task of Airflow ends at its own time limit.

    Args:
        storage: the lake of the run.
        run_id: id of the run's plan.
    """
    path = find_lock_file(storage, run_id)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    start, logged = time.monotonic(), -LOCK_LOG_SECONDS
    while (file := _try_lock(path)) is None:
        waited = time.monotonic() - start
        if waited - logged >= LOCK_LOG_SECONDS:
            logged = waited
            log.info("waiting for process %s, which computes run %s on this machine too", _read_holder(path), run_id)
        time.sleep(LOCK_POLL_SECONDS)
    with file:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def find_lock_file(storage: Storage, run_id: str) -> Path:
    """Return the path of a run's lock on this machine."""
    name = hashlib.sha256(f"{storage.uri()} {run_id}".encode()).hexdigest()[:32]
    return Path(tempfile.gettempdir()) / f"moon-{os.getuid()}" / f"{name}.lock"


def _read_holder(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:  # it has ended at this moment
        return "?"


def _try_lock(path: Path) -> TextIO | None:
    """Return the locked file, with this process's id; None if another process holds it."""
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file.fileno()).st_ino == path.stat().st_ino:  # else its holder has just removed it
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            return file
    except (BlockingIOError, FileNotFoundError):
        pass
    file.close()
    return None
