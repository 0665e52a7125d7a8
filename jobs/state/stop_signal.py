"""Stops writers cleanly on SIGTERM, by a mark in the lake that every writer checks between two batches.

A scheduler that stops a task sends SIGTERM. The process that holds the lease then sets its stop mark. Its own loop and
the Spark tasks on all machines find the mark when they check the lease, and end. No write is pending when the lease is
released.
"""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from pyarrow import fs

from jobs.errors import StoppedError
from jobs.lake.storage import SCRATCH_FOLDER, Storage

log = logging.getLogger(__name__)

RERUN_ADVICE = "Run the same command again: it reconciles what this run left, and continues"


@dataclass(frozen=True)
class StopMark:
    """The mark that asks one holder of a lease to stop.

    Attributes:
        storage: the lake's storage.
        holder: holder of the lease; its last part is unique.
    """

    storage: Storage
    holder: str

    def set(self) -> None:
        """Ask the holder to stop."""
        filesystem, path = self._place()
        filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        with filesystem.open_output_stream(path) as stream:
            stream.write(b"SIGTERM")

    def is_set(self) -> bool:
        """Return whether the holder was asked to stop."""
        filesystem, path = self._place()
        return bool(filesystem.get_file_info(path).type == fs.FileType.File)

    def clear(self) -> None:
        """Remove the mark."""
        filesystem, path = self._place()
        if self.is_set():
            filesystem.delete_file(path)

    def check(self, what: str) -> None:
        """Check that the holder was not asked to stop.

        Raises:
            StoppedError: it was; no request to Milvus is pending.
        """
        if self.is_set():
            raise StoppedError(
                f"stopped on SIGTERM between two batches of {what}, whose lease is given back. {RERUN_ADVICE}"
            )

    def _place(self) -> tuple[fs.FileSystem, str]:
        filesystem, root = self.storage.open()
        return filesystem, f"{root}/{SCRATCH_FOLDER}/stop-{self.holder.rpartition(':')[2]}"


@contextmanager
def stop_on_sigterm(mark: StopMark, what: str) -> Iterator[None]:
    """Set the mark on SIGTERM during a block; outside the main thread signals are not handled.

    Args:
        mark: stop mark of the lease that is held.
        what: name of the object that is written, for the message.

    Raises:
        StoppedError: the signal arrived when the block's work was complete; the following work was not started.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        log.warning("SIGTERM: ending after the batches that are on their way to %s", what)
        mark.set()

    previous = signal.signal(signal.SIGTERM, ask)
    try:
        yield
        if mark.is_set():
            raise StoppedError(f"stopped on SIGTERM; {what} was brought to its end before. {RERUN_ADVICE}")
    finally:
        signal.signal(signal.SIGTERM, previous)
        mark.clear()
