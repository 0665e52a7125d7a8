"""Streams the rows of a DataFrame to the driver, so that they need not fit into its memory."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row


def stream_rows(rows: "DataFrame") -> "Iterator[Row]":
    """Yield the rows on the driver, one partition after the other.

    ``DataFrame.toLocalIterator`` is not used: its jobs start after Spark has ended the query that they belong to, and
    Spark 4.3 keeps such jobs, with their plans and broadcast tables, until the session ends
    (docs/decisions/0051-memory-of-long-sessions.md). The jobs of an RDD belong to no query.
    """
    yield from rows.rdd.toLocalIterator()
