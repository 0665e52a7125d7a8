"""Shows the progress of the stages on stderr: a live bar in a terminal, occasional lines in a log.

The unit is the number of completed tasks of the running Spark jobs. Standard output is reserved for ``--json``.
"""

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

PROGRESS_POLL_SECONDS = 0.5
PROGRESS_LOG_SECONDS = 15.0


def count_tasks(spark: "SparkSession") -> tuple[int, int]:
    """Return (completed, all) tasks of the Spark stages that run at this moment; none where Java has ended."""
    from py4j.protocol import Py4JError  # noqa: PLC0415  (Spark is imported only where a job needs it)

    tracker = spark.sparkContext.statusTracker()
    try:
        stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
    except (Py4JError, OSError):
        return 0, 0  # the stage itself fails, and is explained
    known = [stage for stage in stages if stage is not None]
    return sum(stage.numCompletedTasks for stage in known), sum(stage.numTasks for stage in known)


@contextmanager
def show_stage_progress(spark: "SparkSession", stage: str) -> Iterator[None]:
    """Show a stage's progress while the block runs.

    Args:
        spark: the session whose tasks are counted.
        stage: the stage's name, shown in front.
    """
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
    columns = (TextColumn("{task.description:<9}"), BarColumn(), TextColumn("{task.fields[tasks]}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(stage, total=None, tasks="")
        while not stop.wait(PROGRESS_POLL_SECONDS):
            done, total = count_tasks(spark)
            if total:
                progress.update(task, completed=done, total=total, tasks=f"{done}/{total} tasks")
        progress.update(task, completed=1, total=1, tasks="done")


def _log_lines(spark: "SparkSession", stage: str, stop: threading.Event) -> None:
    start = time.monotonic()
    while not stop.wait(PROGRESS_LOG_SECONDS):
        done, total = count_tasks(spark)
        tasks = f"{done} of {total} tasks of the running Spark jobs done" if total else "between Spark jobs"
        log.info("%s: %s after %.0f s", stage, tasks, time.monotonic() - start)
