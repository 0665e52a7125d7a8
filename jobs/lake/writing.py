"""Writes Parquet files with unique names in Spark tasks, and describes them for the driver, which commits them.

A task never commits and never lists files. It returns a description of every file that it wrote: path, size, rows,
minimum and maximum of the table's key. Files of killed attempts have no description; `moon maintain` deletes them.
"""

import json
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs import fault_points
from jobs.lake.storage import Storage
from schemas.tables import TABLES

ROWS_PER_FILE = 500_000
ROWS_PER_GROUP = 20_000
TASK_OUTPUT_SCHEMA = "table string, file string, counts map<string,bigint>"
"""Spark's schema of what a task with several tables returns: a sink's name, mostly its table's, and one `AddedFile` as
JSON a row; where the task counted something, one more row with its counts."""

_TASK_OUTPUT = pa.schema([("table", pa.string()), ("file", pa.string()), ("counts", pa.map_(pa.string(), pa.int64()))])

FILE_DESCRIPTION_SCHEMA = "file string"
"""Spark's schema of what a writing task returns: one `AddedFile` as JSON a row."""


@dataclass(frozen=True)
class AddedFile:
    """A file that a task wrote and the driver may commit; ``path`` is relative to the table's folder."""

    path: str
    size: int
    rows: int
    partition: Mapping[str, str]
    key: str
    minimum: str | int | None
    maximum: str | int | None

    def to_json(self) -> str:
        """Return the description as one line for `from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "AddedFile":
        """Return the description from a line of `to_json`."""
        return cls(**json.loads(text))

    def build_statistics(self) -> str:
        """Return the statistics of a Delta add action."""
        bounds = (
            {}
            if self.minimum is None
            else {"minValues": {self.key: self.minimum}, "maxValues": {self.key: self.maximum}}
        )
        return json.dumps({"numRecords": self.rows, **bounds})


class FileSink:
    """Writes record batches of one partition of one table; rolls to a new file by row count.

    Args:
        storage: the lake's root.
        table: the table's name in `schemas.tables.TABLES`.
        partition: a value for every partition column of the table.
    """

    def __init__(self, storage: Storage, table: str, partition: Mapping[str, str]) -> None:
        self._table = TABLES[table]
        if set(partition) != set(self._table.partition_by):
            raise ValueError(f"{table} is partitioned by {self._table.partition_by}, not by {tuple(partition)}")
        for value in partition.values():
            if not re.fullmatch(r"[A-Za-z0-9._-]+", value):
                raise ValueError(f"a partition value must do as a folder's name, {value!r} does not")
        self._partition = {name: partition[name] for name in self._table.partition_by}
        self._is_local = storage.is_local
        self._filesystem, root = storage.open()
        self._relative = "/".join(f"{name}={value}" for name, value in self._partition.items())
        self._base = f"{root}/{table}"
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0
        self._writer: pq.ParquetWriter | None = None
        self._path = ""
        self._rows = 0
        self._bounds: list[str | int] = []
        self.files: list[AddedFile] = []

    def write(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Append rows; columns are taken by name and cast to the table's types."""
        names = self._table.columns.names
        table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
        for part in table.select(names).cast(self._table.columns).to_batches():
            self._pending.append(part)
            self._pending_rows += part.num_rows
        if self._pending_rows >= ROWS_PER_GROUP:
            self._flush()
        if self._rows >= ROWS_PER_FILE:
            self._finish()

    def write_rows(self, rows: list[dict[str, object]]) -> None:
        """Append rows given as dictionaries; a missing column is null."""
        if rows:
            self.write(pa.Table.from_pylist(rows, schema=self._table.columns))

    def close(self) -> list[AddedFile]:
        """Finish the last file and return the descriptions of all files."""
        self._flush()
        self._finish()
        return self.files

    def _flush(self) -> None:
        if not self._pending_rows:
            return
        group = pa.Table.from_batches(self._pending)
        if self._writer is None:
            self._path = "/".join(part for part in (self._relative, f"part-{uuid.uuid4()}.parquet") if part)
            target = f"{self._base}/{self._path}"
            if self._is_local:  # an object store has no folders
                self._filesystem.create_dir(target.rsplit("/", 1)[0], recursive=True)
            with fault_points.surround(f"open.{self._table.name}"):
                self._writer = pq.ParquetWriter(
                    target,
                    self._table.columns,
                    filesystem=self._filesystem,
                    compression="zstd",
                    write_page_checksum=True,  # `moon check-lake --deep` compares them
                )
        self._writer.write_table(group)
        self._rows += group.num_rows
        bounds = pc.min_max(group[self._table.key]).as_py()
        self._bounds += [value for value in bounds.values() if value is not None]
        self._pending, self._pending_rows = [], 0

    def _finish(self) -> None:
        if self._writer is None:
            return
        with fault_points.surround(f"write.{self._table.name}"):
            self._writer.close()
        self.files.append(
            AddedFile(
                path=self._path,
                size=self._filesystem.get_file_info(f"{self._base}/{self._path}").size,
                rows=self._rows,
                partition=self._partition,
                key=self._table.key,
                minimum=min(self._bounds, default=None),
                maximum=max(self._bounds, default=None),
            )
        )
        self._writer, self._rows, self._bounds = None, 0, []


class TableSinks:
    """The sinks of one task, one for each table that it writes.

    Args:
        storage: the lake's root.
        partitions: for each table a value for every partition column.
        second: a second sink of a table, as its name → the table: the driver commits the files of both separately.

    Attributes:
        counts: the task's counts for the driver, by name.
    """

    def __init__(
        self,
        storage: Storage,
        partitions: Mapping[str, Mapping[str, str]],
        second: Mapping[str, str] | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        tables = {**{table: table for table in partitions}, **(second or {})}
        self._sinks = {name: FileSink(storage, table, partitions[table]) for name, table in tables.items()}

    def __getitem__(self, name: str) -> FileSink:
        return self._sinks[name]

    def close(self) -> pa.RecordBatch:
        """Finish all files and return their descriptions, and the counts, as the batch that the task yields."""
        rows: list[dict[str, object]] = [
            {"table": name, "file": file.to_json()} for name, sink in self._sinks.items() for file in sink.close()
        ]
        if self.counts:
            rows.append({"counts": list(self.counts.items())})
        return pa.RecordBatch.from_pylist(rows, schema=_TASK_OUTPUT)


def describe_files(files: Iterable[AddedFile]) -> pa.RecordBatch:
    """Return the descriptions as the batch that a writing task yields (schema `FILE_DESCRIPTION_SCHEMA`)."""
    return pa.RecordBatch.from_arrays([pa.array([file.to_json() for file in files], pa.string())], ["file"])


BatchTransform = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]
"""What a task may do to its batches on their way to the files; picklable."""


def write_batches(
    batches: Iterator[pa.RecordBatch],
    storage: Storage,
    table: str,
    partition: Mapping[str, str],
    transform: BatchTransform | None = None,
) -> Iterator[pa.RecordBatch]:
    """Write all batches of one Spark task to the table and yield the files' descriptions."""
    sink = FileSink(storage, table, partition)
    for batch in transform(batches) if transform else batches:
        sink.write(batch)
    yield describe_files(sink.close())
