"""Rows reach the driver in order, and what they were computed from does not stay in the session."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.spark.row_stream import stream_rows

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SETTLE_SECONDS = 0.5
"""The scheduler's thread removes a query a moment after the end of its last job is known."""


def join_small_table(spark: "SparkSession") -> DataFrame:
    return spark.range(0, 10, 1, 3).join(F.broadcast(spark.range(0, 10, 2)), "id")


def count_kept_queries(spark: "SparkSession") -> int:
    """Return the number of queries whose jobs Spark still holds after the scheduler has handled all events."""
    time.sleep(SETTLE_SECONDS)
    scheduler: Any = spark.sparkContext._jsc.sc().dagScheduler()  # type: ignore[union-attr]
    return int(scheduler.activeQueryToJobs().size())


def added_by(spark: "SparkSession", read: Callable[[], object]) -> int:
    before = count_kept_queries(spark)
    read()
    return count_kept_queries(spark) - before


def test_rows_come_partition_by_partition(spark) -> None:
    assert [row.id for row in stream_rows(spark.range(0, 10, 1, 3).where("id != 4"))] == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert list(stream_rows(spark.range(0))) == []


def test_no_query_stays_in_the_session(spark) -> None:
    joined = join_small_table(spark)
    assert added_by(spark, lambda: list(stream_rows(joined))) == 0
    # Fails once Spark is repaired: then `stream_rows` can go.
    assert added_by(spark, lambda: list(joined.toLocalIterator())) == 1
