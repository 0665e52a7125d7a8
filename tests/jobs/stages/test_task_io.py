import threading
import time
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark import TaskContext
from pyspark.sql import functions as F

from jobs.lake.storage import Storage
from jobs.lake.writing import TableSinks
from jobs.stages.task_io import (
    MAX_TASK_ITEMS,
    TASKS_PER_SLOT,
    TaskOutput,
    choose_task_count,
    prefetch_map,
    repartition_by_key,
    run_tasks,
    split_chunks,
)

ADAPTIVE = "spark.sql.adaptive.autoBroadcastJoinThreshold"
REGIONS, QUARANTINE = {"detector_version": "d"}, {"date": "2026-01-02", "purpose": "nightly", "stage": "detect"}


def region(uri):
    return {"image_sha256": "0" * 64, "uri": uri, "version": "1", "box": [0.0, 0.0, 1.0, 1.0], "score": 0.5}


def two_tables(batches, storage):
    """A task that writes even numbers to one table and odd ones to another."""
    sinks = TableSinks(storage, {"regions": REGIONS, "quarantine": QUARANTINE})
    for batch in batches:
        for number in batch.column("id").to_pylist():
            if number % 2:
                sinks["quarantine"].write_rows([{"source_row": number, "reason": "odd"}])
            else:
                sinks["regions"].write_rows([region(f"file:///{number}")])
            sinks.counts["odd" if number % 2 else "even"] += 1
    yield sinks.close()


def test_tasks_write_their_tables_and_describe_them(spark, tmp_path):
    storage = Storage(str(tmp_path))
    output = run_tasks(spark.range(10).repartition(2), partial(two_tables, storage=storage))
    files = output.files
    assert output.counts == {"odd": 5, "even": 5}
    assert {table: sum(file.rows for file in found) for table, found in files.items()} == {
        "regions": 5,
        "quarantine": 5,
    }
    rows = [
        row for file in files["quarantine"] for row in pq.read_table(tmp_path / "quarantine" / file.path).to_pylist()
    ]
    assert sorted(row["source_row"] for row in rows) == [1, 3, 5, 7, 9]


def test_a_task_without_rows_describes_nothing(spark, tmp_path):
    assert run_tasks(spark.range(0), partial(two_tables, storage=Storage(str(tmp_path)))) == TaskOutput()
    assert TableSinks(Storage(str(tmp_path)), {"regions": REGIONS}).close().num_rows == 0


def wait_for_report(batches, storage, reported):
    """A task whose second partition ends only after the first one was reported."""
    while TaskContext.get().partitionId() and not reported.exists():
        time.sleep(0.05)
    yield from two_tables(batches, storage)


def test_finished_tasks_are_reported_while_others_run(spark, tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.stages.task_io.SHARD_SECONDS", 0.1)
    seen, reported = [], tmp_path / "reported"

    def report(output):
        seen.append(output)
        if output.files:
            reported.touch()
            raise OSError("the lake does not answer")  # logged; the tasks go on

    task = partial(wait_for_report, storage=Storage(str(tmp_path)), reported=reported)
    output = run_tasks(spark.range(10).repartition(2), task, report=report)
    assert output.counts == {"odd": 5, "even": 5}
    first = next(output for output in seen if output.files)
    assert 0 < first.counts.total() < 10
    assert {file.path for file in first.files["regions"]} < {file.path for file in output.files["regions"]}


def partitions_seen(batches):
    rows = sum(batch.num_rows for batch in batches)
    yield pa.RecordBatch.from_pydict({"partition": [TaskContext.get().partitionId()], "rows": [rows]})


def test_rows_are_spread_over_all_tasks_whatever_was_joined_before(spark):
    """The join is planned as a shuffle by the same key into as many partitions, and becomes a broadcast on the way."""
    kept = {name: spark.conf.get(name, None) for name in ("spark.sql.autoBroadcastJoinThreshold", ADAPTIVE)}
    try:
        spark.conf.set("spark.sql.autoBroadcastJoinThreshold", "-1")
        spark.conf.set(ADAPTIVE, "10MB")
        key = F.col("id").cast("string").alias("product_id")
        joined = spark.range(200).select(key).join(spark.range(50).select(key, "id"), "product_id", "left")
        tasks = int(spark.conf.get("spark.sql.shuffle.partitions"))
        rows = repartition_by_key(joined, tasks, ["product_id"], ["product_id"])
        seen = rows.mapInArrow(partitions_seen, "partition long, rows long").collect()
    finally:
        for name, value in kept.items():
            spark.conf.unset(name) if value is None else spark.conf.set(name, value)
    assert sorted(row.partition for row in seen) == list(range(tasks))
    assert sum(row.rows for row in seen) == 200
    assert all(row.rows > 50 for row in seen)


@given(items=st.integers(0, 10**8), size=st.integers(1, 1000), slots=st.integers(1, 64))
def test_tasks_are_a_multiple_of_the_slots(items, size, slots):
    tasks = choose_task_count(items, size, slots)
    assert tasks % slots == 0
    assert slots <= tasks <= max(TASKS_PER_SLOT * slots, items // MAX_TASK_ITEMS + 1 + slots)
    assert tasks * size >= items or (TASKS_PER_SLOT * slots <= tasks and tasks * MAX_TASK_ITEMS >= items)
    assert (tasks - slots) * size < max(items, 1)


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_ahead_keeps_order(threads):
    assert list(prefetch_map(range(20), lambda n: n * n, threads, window=4)) == [n * n for n in range(20)]


def test_ahead_works_while_the_consumer_waits_but_no_further_than_the_window():
    started, reached = [], threading.Event()

    def work(number):
        started.append(number)
        if len(started) == 4:
            reached.set()
        return number

    results = prefetch_map(range(100), work, threads=2, window=3)
    assert next(results) == 0
    assert reached.wait(10)  # 3 in the window, and one more when the first was taken
    assert next(results) == 1
    results.close()
    assert len(started) <= 6


@pytest.mark.parametrize("threads", [0, 2])
def test_ahead_raises_in_turn(threads):
    results = prefetch_map([1, 0, 2], lambda n: 1 // n, threads, window=3)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_ahead_takes_items_lazily():
    taken = []
    source = (taken.append(n) or n for n in range(100))
    results = prefetch_map(source, str, threads=2, window=5)
    next(results)
    assert len(taken) <= 6


def test_chunks():
    assert list(split_chunks(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(split_chunks([], 2)) == []
