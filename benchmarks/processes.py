"""Memory and CPU time of a Spark application in local mode, separately for driver, JVM and Python workers."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psutil

INTERVAL_SECONDS = 0.2


@dataclass
class PeakMemory:
    """Peak resident memory.

    Attributes:
        mib: MiB of the largest process of each kind: driver, jvm, worker.
    """

    mib: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def sample(self, root: psutil.Process) -> None:
        """Measure a process and its descendants once and keep the peaks."""
        for process in [root, *root.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                kind = _classify(process, root)
                self.mib[kind] = max(self.mib[kind], process.memory_info().rss / 2**20)


@contextmanager
def watch_memory() -> Iterator[PeakMemory]:
    """Yield the peaks of this process and its descendants, measured while the block runs."""
    peaks = PeakMemory()
    stop = threading.Event()
    root = psutil.Process()

    def sample() -> None:
        while not stop.wait(INTERVAL_SECONDS):
            peaks.sample(root)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        stop.set()
        thread.join()
        peaks.sample(root)


def measure_cpu_seconds() -> float:
    """Return the CPU seconds of this process and its living descendants (a Spark worker outlives a stage)."""
    total = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def _classify(process: psutil.Process, root: psutil.Process) -> str:
    if process.pid == root.pid:
        return "driver"
    return "jvm" if process.name() == "java" else "worker"
