"""Queries the lake's tables by SQL without Spark, for few rows from tables of any size.

The engine is DataFusion, which comes with deltalake: it reads only the columns and partitions that a query needs, and
needs no Java process.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
from deltalake import QueryBuilder

from jobs.lake.store import Lake

_PLACE = re.compile(r"\$(\w+)")


def query_lake(
    lake: Lake, sql: str, tables: Iterable[str], **values: str | int | Sequence[str]
) -> list[dict[str, Any]]:
    """Return the rows of a query over committed rows; none if one of the tables is not there.

    Args:
        lake: the lake; no table is created.
        sql: a SELECT over the tables, with ``$name`` at the place of a value.
        tables: names of the tables that it reads.
        values: values by name; a sequence of texts is a list for ``IN ($name)``, and must not be empty.
    """
    builder = QueryBuilder()
    for name in tables:
        if (table := lake.find(name)) is None:
            return []
        builder = builder.register(name, table)
    filled = _PLACE.sub(lambda place: _write_literal(values[place[1]]), sql)
    # Read by pyarrow, which lets other threads run, such as the one that renews a lease; the engine's own reader
    # does not.
    rows: list[dict[str, Any]] = pa.RecordBatchReader.from_stream(builder.execute(filled)).read_all().to_pylist()
    return rows


def _write_literal(value: str | int | Sequence[str]) -> str:
    """Return a value as a literal of SQL."""
    if isinstance(value, int):
        return str(value)
    texts = [value] if isinstance(value, str) else value
    return ", ".join("'" + text.replace("'", "''") + "'" for text in texts)
