"""Catalogue formats for Spark: the DataFrame of each format's files, and the raw records that a task reads from it.

A format has two parts: a DataFrame whose first two columns are a row's file and block, and a reader that runs inside
the tasks. A block is read by one task, from its first row to its last. So file, block and a count give every record its
place in reading order, whatever the number of tasks.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from jobs.catalog.records import CatalogFormat, CsvRecords, ParsedRecord, parse_json_array, parse_json_line

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

CatalogBlock = tuple[str, int]
"""A file's URI and the byte offset of a split in it (0 where files are not split)."""

MAX_ARRAY_BYTES = 128 << 20
"""Maximum size of a JSON array: one task parses it in one piece, which takes about ten times its size in memory."""

NEVER_SPLIT = str(1 << 50)
_FILE, _BLOCK = "moon_file", "moon_block"


class UnreadableFileError(ValueError):
    """A file is broken as a whole: no record of it can be trusted."""


class RawRecord(NamedTuple):
    """One record as the source has it, or what is wrong with it, with its block."""

    block: CatalogBlock
    parsed: ParsedRecord


RecordReader = Callable[[Iterable[pa.RecordBatch]], Iterator[RawRecord]]


def scan_blocks(spark: "SparkSession", path: str, glob: str, kind: CatalogFormat) -> "DataFrame":
    """Return a DataFrame of file, block and what the format's reader needs, in file order within each block.

    Args:
        spark: Spark session.
        path: File, folder or glob, as Spark's readers take it.
        glob: Pattern of the names of data files.
        kind: Catalogue format.
    """
    from pyspark.sql import functions as F  # noqa: PLC0415

    place = (F.col("_metadata.file_path").alias(_FILE), F.col("_metadata.file_block_start").alias(_BLOCK))
    if kind == "parquet":
        table = spark.read.option("pathGlobFilter", glob).parquet(path)
        return table.select(*place, *(_quoted(name) for name in table.columns))
    if kind == "csv":  # a record may have several lines: one task reads a file from its heading to its end
        spark = spark.newSession()
        spark.conf.set("spark.sql.files.maxPartitionBytes", NEVER_SPLIT)
        spark.conf.set("spark.sql.files.openCostInBytes", NEVER_SPLIT)
    lines = spark.read.option("pathGlobFilter", glob).text(
        path, wholetext=kind == "json", lineSep="\n" if kind == "csv" else None
    )
    if kind == "jsonl":
        lines = lines.filter(F.col("value").rlike(r"[^\s\uFEFF]"))
    return lines.select(*place, F.col("value").cast("binary"))


def get_record_reader(kind: CatalogFormat) -> RecordReader:
    """Return the function that reads records from the batches of `scan_blocks`."""
    readers: dict[CatalogFormat, RecordReader] = {
        "parquet": read_parquet_files, "jsonl": read_json_lines, "json": read_json_arrays, "csv": read_csv,
    }  # fmt: skip
    return readers[kind]


def select_columns(rows: "DataFrame", columns: Iterable[str]) -> "DataFrame":
    """Return the rows of a Parquet scan with only the columns that are needed."""
    return rows.select(_FILE, _BLOCK, *(_quoted(name) for name in columns))


def list_source_columns(rows: "DataFrame") -> list[str]:
    """Return the source's columns of a Parquet scan."""
    return rows.columns[2:]


def count_rows_by_block(rows: "DataFrame") -> dict[CatalogBlock, int]:
    """Return the number of rows of each block, for formats in which each row is one record."""
    counted = rows.groupBy(_FILE, _BLOCK).count().collect()
    return {(row[0], row[1]): row[2] for row in counted}


def read_parquet_files(batches: Iterable[pa.RecordBatch]) -> Iterator[RawRecord]:
    """Yield one record a row; values are Python objects (dates, decimals, lists, maps as lists of pairs)."""
    for batch in batches:
        names = batch.schema.names[2:]
        for block, row in zip(_blocks(batch), batch.select(names).to_pylist(), strict=True):
            yield RawRecord(block, ParsedRecord(row, None))


def read_json_lines(batches: Iterable[pa.RecordBatch]) -> Iterator[RawRecord]:
    """Yield one record a line."""
    for block, line in _values(batches):
        yield RawRecord(block, parse_json_line(line))


def read_json_arrays(batches: Iterable[pa.RecordBatch]) -> Iterator[RawRecord]:
    """Yield the records of whole files.

    Raises:
        UnreadableFileError: A file is no JSON array.
    """
    for block, document in _values(batches):
        try:
            items = parse_json_array(document)
        except ValueError as error:
            raise UnreadableFileError(f"{block[0]} {error}") from error
        for item in items:
            yield RawRecord(block, item)


def read_csv(batches: Iterable[pa.RecordBatch]) -> Iterator[RawRecord]:
    """Yield the records of files given line by line, in order.

    Raises:
        UnreadableFileError: The heading of a file cannot be read, or names a column twice.
    """
    for block, lines in groupby(_values(batches), key=lambda value: value[0]):
        try:
            records = CsvRecords(line for _, line in lines)
        except ValueError as error:
            raise UnreadableFileError(f"{block[0]}: {error}") from error
        twice = {name for name in records.columns if name and records.columns.count(name) > 1}
        if twice:
            raise UnreadableFileError(f"{block[0]}: the column names {sorted(twice)} occur more than once")
        for record in records:
            yield RawRecord(block, record)


def _values(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[CatalogBlock, bytes]]:
    for batch in batches:
        yield from zip(_blocks(batch), batch.column(2).to_pylist(), strict=True)


def _blocks(batch: pa.RecordBatch) -> Iterator[CatalogBlock]:
    return zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)


def _quoted(name: str) -> Any:
    from pyspark.sql import functions as F  # noqa: PLC0415

    return F.col("`" + name.replace("`", "``") + "`")
