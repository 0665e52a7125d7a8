"""Shows the progress of the stages on stderr: a live bar in a terminal, occasional lines in a log.

A stage says how much work it has (`announce_work`), and counts what is done (`report_done`) where its driver sees it.
Otherwise the share of the tasks that have finished stands for the share of the work. Before it is announced, tasks of
the running Spark jobs are shown. Standard output is reserved for ``--json``.
"""

import logging
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

PROGRESS_POLL_SECONDS = 0.5
PROGRESS_LOG_SECONDS = 15.0


@dataclass
class Work:
    """Work of the stage that runs.

    Attributes:
        total: number of items; 0 before it is known.
        unit: what an item is, such as "products".
        tasks: number of tasks of the Spark stage that does it; 0 where the driver counts what is done.
        done: number of items that are done.
        began: time at which the work was announced.
    """

    total: int = 0
    unit: str = ""
    tasks: int = 0
    done: int = 0
    began: float = field(default_factory=time.monotonic)

    def describe(self) -> str:
        """Return products done, rate and time left as a text; empty before the work is announced."""
        if not self.total:
            return ""
        text = f"{self.done:,} of {self.total:,} {self.unit}"
        rate = self.done / max(time.monotonic() - self.began, 1e-9)
        if not self.done:
            return text
        left = timedelta(seconds=round((self.total - self.done) / rate))
        return f"{text}, {rate:,.1f} a second, about {left} left"


_work = Work()


def announce_work(total: int, unit: str, *, tasks: int = 0) -> None:
    """Say how much the running stage has to do.

    Args:
        total: number of items.
        unit: what an item is, in the plural.
        tasks: number of tasks of the Spark stage that does it; 0 if `report_done` is called.
    """
    global _work  # noqa: PLW0603  (one stage runs at a time)
    _work = Work(total, unit, tasks)


def report_done(done: int) -> None:
    """Say how many items of the announced work are done."""
    _work.done = min(done, _work.total)


def describe_counts(counts: Mapping[str, int]) -> str:
    """Return the counts of a stage as words: ``506 products, 505 encoded``."""
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items()) or "nothing to count"


def count_tasks(spark: "SparkSession") -> tuple[int, int]:
    """Return (completed, all) tasks of the Spark stages that run at this moment; none where Java has ended."""
    from py4j.protocol import Py4JError  # noqa: PLC0415  (Spark is imported only where a job needs it)

    tracker = spark.sparkContext.statusTracker()
    try:
        stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
    except (Py4JError, OSError):
        return 0, 0  # the stage itself fails, and is explained
    known = [stage for stage in stages if stage is not None]
    if _work.tasks:
        doing = [stage.numCompletedTasks for stage in known if stage.numTasks == _work.tasks]
        report_done(max([_work.done, *(round(_work.total * count / _work.tasks) for count in doing)]))
    return sum(stage.numCompletedTasks for stage in known), sum(stage.numTasks for stage in known)


@contextmanager
def show_stage_progress(spark: "SparkSession", stage: str) -> Iterator[None]:
    """Show a stage's progress while the block runs.

    Args:
        spark: the session whose tasks are counted.
        stage: the stage's name, shown in front.
    """
    announce_work(0, "")
    stop = threading.Event()
    show = _show_bar if sys.stderr.isatty() else _log_lines
    thread = threading.Thread(target=show, args=(spark, stage, stop), daemon=True, name=f"progress-{stage}")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _show_bar(spark: "SparkSession", stage: str, stop: threading.Event) -> None:
    columns = (TextColumn("{task.description:<9}", markup=False), BarColumn(), TextColumn("{task.fields[said]}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(stage, total=None, said="")
        while not stop.wait(PROGRESS_POLL_SECONDS):
            done, total = count_tasks(spark)
            if _work.done or (_work.total and not total):
                progress.update(task, completed=_work.done, total=_work.total, said=_work.describe())
            elif total:
                progress.update(task, completed=done, total=total, said=f"{done}/{total} tasks")
        progress.update(task, completed=1, total=1, said="done")


def _log_lines(spark: "SparkSession", stage: str, stop: threading.Event) -> None:
    start = time.monotonic()
    while not stop.wait(PROGRESS_LOG_SECONDS):
        done, total = count_tasks(spark)
        tasks = f"{done} of {total} tasks of the running Spark jobs done" if total else "between Spark jobs"
        said = (_work.describe(), tasks)
        text = said[0] if _work.done else ", ".join(filter(None, said))
        log.info("%s: %s after %.0f s", stage, text, time.monotonic() - start)
