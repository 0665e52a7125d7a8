"""Queries the lake's tables by SQL without Spark, for few rows from tables of any size.

The engine is DataFusion, which comes with deltalake: it reads only the columns and partitions that a query needs, and
needs no Java process.
"""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
from deltalake import QueryBuilder

from jobs.lake.store import Lake


def query_lake(lake: Lake, sql: str, tables: Iterable[str]) -> list[dict[str, Any]]:
    """Return the rows of a query over committed rows; none if one of the tables is not there.

    Args:
        lake: the lake; no table is created.
        sql: a SELECT over the tables; texts in it come from `quote_text`.
        tables: names of the tables that it reads.
    """
    names = list(tables)
    if not all(lake.exists(name) for name in names):
        return []
    builder = QueryBuilder()
    for name in names:
        builder = builder.register(name, lake.open(name))
    return pa.table(builder.execute(sql).read_all()).to_pylist()


def quote_text(text: str) -> str:
    """Return a text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"
