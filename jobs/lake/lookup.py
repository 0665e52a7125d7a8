"""Reads the lake's tables without Spark and without creating anything: the rows of a few keys, or some columns of all.

To find keys, files are left out by partition and by the bounds of the table's key in the Delta log. Of the others, only
row groups with a matching key are read with all their columns: a vector is found without reading those beside it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable

from jobs.errors import DamageError
from jobs.lake.checking import find_table_damage
from jobs.lake.reading import open_dataset
from jobs.lake.store import Lake
from schemas.tables import TABLES

BATCH_ROWS = 8192
"""Rows of a batch of `iter_batches`."""


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
    if not keys or (delta := lake.find(name)) is None:
        return []
    column = by or table.key
    predicate: list[tuple[str, str, Any]] = [(key, "=", value) for key, value in (partition or {}).items()]
    if column == table.key:
        predicate.append((column, "in", list(keys)) if len(keys) > 1 else (column, "=", keys[0]))
    wanted = pc.field(column).isin(pa.array(keys, table.schema.field(column).type))
    names = list(columns or table.schema.names)
    found: list[dict[str, Any]] = []
    with _explain_damage(lake, name):
        for fragment in _open_files(lake, delta, name, predicate).get_fragments(filter=wanted):
            for group in fragment.split_by_row_group(filter=wanted, schema=table.schema):
                if group.count_rows(filter=wanted):
                    found += group.to_table(columns=names, filter=wanted, schema=table.schema).to_pylist()
    return found


def iter_batches(
    lake: Lake, name: str, columns: Sequence[str], partition: Mapping[str, str]
) -> Iterator[pa.RecordBatch]:
    """Yield some columns of the rows of a partition, batch by batch; nothing where the table does not exist.

    Args:
        lake, name, columns: lake, table and columns.
        partition: values of partition columns.

    Raises:
        DamageError: a file of the table is damaged.
    """
    if (delta := lake.find(name)) is None:
        return
    predicate = [(key, "=", value) for key, value in partition.items()]
    with _explain_damage(lake, name):
        yield from _open_files(lake, delta, name, predicate).to_batches(
            columns=list(columns), batch_size=BATCH_ROWS, batch_readahead=2, fragment_readahead=1
        )


def _open_files(lake: Lake, delta: DeltaTable, name: str, predicate: Sequence[tuple[str, str, Any]]) -> ds.Dataset:
    """Return the live files of a table that may have rows for a predicate."""
    table, base = TABLES[name], lake.storage.uri(name)
    uris = lake.storage.decode(delta.file_uris(file_pruning_predicate=list(predicate) or None))
    return open_dataset(lake.storage, [uri[len(base) + 1 :] for uri in uris], table.schema, base, table.partition_by)


@contextmanager
def _explain_damage(lake: Lake, name: str) -> Iterator[None]:
    """Turn the failure of a read into the description of the damaged file, if there is one."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        if damage := find_table_damage(lake.storage, name):
            raise DamageError(str(damage[0])) from error
        raise
