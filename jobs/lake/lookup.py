"""Finds the rows of a few keys in the lake's tables without Spark and without creating anything.

Files are left out by partition and by the bounds of the table's key in the Delta log. Of the others, only row groups
with a matching key are read with all their columns: a vector is found without reading the vectors beside it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.errors import DamageError
from jobs.lake.checking import find_table_damage
from jobs.lake.reading import open_dataset
from jobs.lake.store import Lake
from schemas.tables import TABLES


def find_rows(
    lake: Lake,
    name: str,
    keys: Sequence[str],
    *,
    by: str | None = None,
    columns: Sequence[str] | None = None,
    partition: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Return the rows of a table that have one of some keys; none where the table does not exist.

    Args:
        lake: the lake.
        name: the table.
        keys: values of the column.
        by: the column; default: the table's key. Other columns are looked for in every file.
        columns: columns to return; default: all.
        partition: values of partition columns; default: all partitions.

    Raises:
        DamageError: a file of the table is damaged.
    """
    table = TABLES[name]
    if not keys or not lake.exists(name):
        return []
    column = by or table.key
    predicate: list[tuple[str, str, Any]] = [(key, "=", value) for key, value in (partition or {}).items()]
    if column == table.key:
        predicate.append((column, "in", list(keys)) if len(keys) > 1 else (column, "=", keys[0]))
    base = lake.storage.uri(name)
    uris = lake.storage.decode(lake.open(name).file_uris(file_pruning_predicate=predicate or None))
    wanted = pc.field(column).isin(pa.array(keys, table.schema.field(column).type))
    dataset = open_dataset(lake.storage, [uri[len(base) + 1 :] for uri in uris], table.schema, base, table.partition_by)
    found: list[dict[str, Any]] = []
    try:
        for fragment in dataset.get_fragments(filter=wanted):
            for group in fragment.split_by_row_group(filter=wanted, schema=table.schema):
                if group.count_rows(filter=wanted):
                    names = list(columns or table.schema.names)
                    rows = group.to_table(columns=names, filter=wanted, schema=table.schema)
                    found += rows.to_pylist()
    except (OSError, pa.ArrowException) as error:
        if damage := find_table_damage(lake.storage, name):
            raise DamageError(str(damage[0])) from error
        raise
    return found
