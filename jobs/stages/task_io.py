"""Runs Spark tasks that prefetch inputs, write several tables and return file descriptions; for detect and encode.

A task is a function over Arrow batches (`mapInArrow`). It has one sink per table and yields only the descriptions of
its files, so neither pixels nor vectors pass back through Spark. The driver commits exactly the files described, at the
end or while further tasks run.
"""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import pyarrow as pa
from pyspark.accumulators import Accumulator, AccumulatorParam
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.lake.writing import TASK_OUTPUT_SCHEMA, AddedFile
from jobs.spark.gpus import build_gpu_profile

log = logging.getLogger(__name__)

RecordBatches = Iterator[pa.RecordBatch]
Task = Callable[[RecordBatches], RecordBatches]
_Rows = list[dict[str, Any]]
_T = TypeVar("_T")
_R = TypeVar("_R")

TASKS_PER_SLOT = 16
"""No stage is cut finer than this: at scale a task lasts minutes, keeps its GPU busy and writes large files."""

MAX_TASK_ITEMS = 20_000
"""More tasks than `TASKS_PER_SLOT` are made where one would have more rows: a killed task loses minutes, not hours."""

SHARD_SECONDS = 60.0
"""Time between two reports of the tasks that have finished."""


@dataclass(frozen=True)
class TaskOutput:
    """Files and counts of all tasks of a stage.

    Attributes:
        files: files that the tasks wrote, by table, or by the name of a table's second sink.
        counts: sums of the tasks' counts, by name.
    """

    files: dict[str, list[AddedFile]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)


def run_tasks(
    frame: DataFrame, task: Task, *, on_gpu: bool = True, report: Callable[[TaskOutput], None] | None = None
) -> TaskOutput:
    """Run a task over every partition of a DataFrame; return the written files and the counts.

    Args:
        frame: input rows of the tasks.
        task: yields the descriptions of its files (`jobs.lake.writing.TableSinks`).
        on_gpu: whether each task gets a GPU if the cluster has GPUs.
        report: called in a thread every `SHARD_SECONDS` with the output of all tasks that have finished. If it fails,
            that is logged, and the next call comes all the same.
    """
    profile = build_gpu_profile(frame.sparkSession) if on_gpu else None
    if report is None:
        return _read_output(frame.mapInArrow(task, TASK_OUTPUT_SCHEMA, profile=profile).collect())
    finished = frame.sparkSession.sparkContext.accumulator([], _Lists())
    reported = partial(_run_reported, task=task, finished=finished)
    with _call_regularly(lambda: report(_read_output(finished.value))):
        return _read_output(frame.mapInArrow(reported, TASK_OUTPUT_SCHEMA, profile=profile).collect())


class _Lists(AccumulatorParam[_Rows]):
    """Joins lists. Spark adds what a task gave to its accumulator once, when the task has succeeded."""

    def zero(self, value: _Rows) -> _Rows:
        return []

    def addInPlace(self, value1: _Rows, value2: _Rows) -> _Rows:
        return value1 + value2


def _run_reported(batches: RecordBatches, task: Task, finished: "Accumulator[_Rows]") -> RecordBatches:
    """Run a task and give what it yields to the driver when it ends, not when the last task of the stage does."""
    for batch in task(batches):
        finished.add(batch.to_pylist())
        yield batch


@contextmanager
def _call_regularly(function: Callable[[], None]) -> Iterator[None]:
    """Call a function in a thread every `SHARD_SECONDS` while the block runs."""
    stop = threading.Event()

    def call() -> None:
        while not stop.wait(SHARD_SECONDS):
            try:
                function()
            except Exception:
                log.warning("finished tasks could not be committed yet", exc_info=True)

    thread = threading.Thread(target=call, daemon=True, name="shards")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _read_output(rows: Iterable[Any]) -> TaskOutput:
    """Return the files and counts of rows of `TASK_OUTPUT_SCHEMA`."""
    output = TaskOutput()
    for row in rows:
        if row["file"] is not None:
            output.files.setdefault(row["table"], []).append(AddedFile.from_json(row["file"]))
        output.counts.update(dict(row["counts"] or ()))
    return output


def choose_task_count(items: int, items_per_task: int, slots: int) -> int:
    """Return the number of tasks for the work: a multiple of the slots, so that no slot is idle at the end.

    Args:
        items: upper bound of the number of rows.
        items_per_task: rows per task: enough to outweigh its overhead, few enough to show progress.
        slots: number of parallel tasks (`jobs.spark.gpus.count_task_slots`).
    """
    tasks = min(-(-items // items_per_task), max(TASKS_PER_SLOT * slots, -(-items // MAX_TASK_ITEMS)))
    return max(1, -(-tasks // slots)) * slots


def repartition_by_key(frame: DataFrame, tasks: int, key: Sequence[str], sort_columns: Sequence[str]) -> DataFrame:
    """Return the rows in exactly `tasks` sorted partitions, with rows of one key in the same partition.

    Partitioning by key and sorting make a rerun or a concurrent duplicate run form the same batches and get
    bit-identical vectors. A hash of the key is used because Spark removes a repartition by the same columns and number
    as a join below it. Adaptive execution then chose the number of partitions itself, which left all but one GPU idle.

    Args:
        frame: any rows.
        tasks: number of partitions, from `choose_task_count`.
        key: columns whose equal values stay together.
        sort_columns: columns to sort by.
    """
    return frame.repartition(tasks, F.xxhash64(*key)).sortWithinPartitions(*sort_columns)


def prefetch_map(items: Iterable[_T], function: Callable[[_T], _R], threads: int, window: int) -> Iterator[_R]:
    """Yield ``function(item)`` for every item in order, computed by threads ahead of the consumer.

    Args:
        items: read lazily, one by one, in the caller's thread.
        function: thread-safe function; its exceptions are raised here, in the order of the items.
        threads: number of threads; 0 computes in the caller's thread, one item at a time.
        window: maximum number of pending results, which bounds the memory.

    Returns:
        An iterator of results in the order of the items.
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
    """Yield lists of ``size`` consecutive items; the last may be shorter."""
    stream = iter(items)
    while chunk := list(islice(stream, size)):
        yield chunk
