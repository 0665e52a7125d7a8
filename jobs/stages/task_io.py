"""What detect and encode share: tasks that read ahead, write several tables and describe their files to the driver.

A task is a function of Arrow batches (`mapInArrow`). It holds one sink a table and yields nothing but the
descriptions of its files, so neither pixels nor vectors ever travel back through Spark; the driver commits exactly
the files that it describes.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.lake.writing import TASK_OUTPUT_SCHEMA, AddedFile
from jobs.spark.gpus import build_gpu_profile

RecordBatches = Iterator[pa.RecordBatch]
_T = TypeVar("_T")
_R = TypeVar("_R")

TASKS_PER_SLOT = 16
"""No stage is cut finer than this: at scale a task lasts minutes, keeps its GPU busy and writes large files."""


@dataclass(frozen=True)
class TaskOutput:
    """What all tasks of a stage gave.

    Attributes:
        files: what they wrote, by table.
        counts: sums of what they counted, by name.
    """

    files: dict[str, list[AddedFile]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)


def run_tasks(frame: DataFrame, task: Callable[[RecordBatches], RecordBatches], *, on_gpu: bool = True) -> TaskOutput:
    """Run a task over every partition of a DataFrame; return the files it wrote and what it counted.

    Args:
        frame: what the tasks get.
        task: yields the description of its files (`jobs.lake.writing.TableSinks`).
        on_gpu: whether each task is given a GPU where the cluster has some.
    """
    output = TaskOutput()
    profile = build_gpu_profile(frame.sparkSession) if on_gpu else None
    for row in frame.mapInArrow(task, TASK_OUTPUT_SCHEMA, profile=profile).collect():
        if row["file"] is not None:
            output.files.setdefault(row["table"], []).append(AddedFile.from_json(row["file"]))
        output.counts.update(row["counts"] or {})
    return output


def choose_task_count(items: int, items_per_task: int, slots: int) -> int:
    """Return how many tasks to cut the work into: a multiple of the slots, so that none idles while another works.

    Args:
        items: rows of work, at most.
        items_per_task: rows that make a task worth its overhead, which still shows progress.
        slots: tasks that run at once (`jobs.spark.gpus.count_task_slots`).
    """
    tasks = min(-(-items // items_per_task), TASKS_PER_SLOT * slots)
    return max(1, -(-tasks // slots)) * slots


def repartition_by_key(frame: DataFrame, tasks: int, key: Sequence[str], sort_columns: Sequence[str]) -> DataFrame:
    """Return the rows in exactly this many partitions, rows of one key together, and sorted in each.

    By key and sorted, so that a rerun or a concurrent duplicate run forms the same batches and gets the same vectors
    to the last bit. By a hash of the key: a repartition by the very columns and number of a join below it is
    optimised away, and adaptive execution then reads that join's output in as many partitions as it likes, which left
    all but one GPU idle.

    Args:
        frame: any rows.
        tasks: from `choose_task_count`.
        key: columns whose equal values stay together.
        sort_columns: columns to sort by.
    """
    return frame.repartition(tasks, F.xxhash64(*key)).sortWithinPartitions(*sort_columns)


def prefetch_map(items: Iterable[_T], function: Callable[[_T], _R], threads: int, window: int) -> Iterator[_R]:
    """Apply ``function`` to items in threads that run ahead of the consumer; results come in order.

    Args:
        items: taken lazily, one by one, in the caller's thread.
        function: thread-safe; what it raises is raised here in its turn.
        threads: 0 works in the caller's thread, one item at a time.
        window: results that may wait, which bounds the memory.

    Returns:
        ``work(item)`` for every item.
    """
    if threads == 0:
        yield from map(function, items)
        return
    source = iter(items)
    with ThreadPoolExecutor(threads, thread_name_prefix="prepare") as pool:
        waiting: deque[Future[_R]] = deque(pool.submit(function, item) for item in islice(source, window))
        try:
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in islice(source, 1))
                yield result
        finally:
            for future in waiting:
                future.cancel()


def split_chunks(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Cut a stream into lists of ``size`` items; the last may be shorter."""
    stream = iter(items)
    while chunk := list(islice(stream, size)):
        yield chunk
