"""Reads catalogue formats with Spark: a DataFrame of the files' lines, and readers that parse records in the tasks.

A format has two parts: a DataFrame whose first two columns are a row's file and block, and a reader that runs inside
the tasks. One task reads a block from its first row to its last. File, block and a count therefore give the position of
every record in reading order, whatever the number of tasks.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby, islice
from typing import IO, TYPE_CHECKING, NamedTuple

import pyarrow as pa

from jobs.catalog.archives import iter_values, open_members
from jobs.catalog.parts import UnreadableFileError
from jobs.catalog.records import (
    CatalogFormat,
    CsvRecords,
    ParsedRecord,
    is_blank,
    parse_json_array,
    parse_json_line,
)
from jobs.catalog.xml_records import XmlError, parse_xml
from jobs.lake.storage import escape_glob
from schemas.source import SourceMapping

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

CatalogBlock = tuple[str, int]
"""A file's URI and the byte offset of a split in it (0 where files are not split)."""

ONE_TASK_FORMATS: tuple[CatalogFormat, ...] = ("csv", "xml")
LINES_PER_BATCH = 1024
NEVER_SPLIT = str(1 << 50)
_FILE, _BLOCK = "moon_file", "moon_block"


class RawRecord(NamedTuple):
    """One raw record or its error, with its block."""

    block: CatalogBlock
    parsed: ParsedRecord


RecordReader = Callable[[Iterable[pa.RecordBatch]], Iterator[RawRecord]]


def scan_blocks(
    spark: "SparkSession", files: list[str], kind: CatalogFormat, encoding: str | None = None
) -> "DataFrame":
    """Return a DataFrame of file, block and line (or document), in file order within each block.

    Args:
        spark: Spark session.
        files: Paths or URIs.
        kind: Catalogue format other than Parquet (`jobs.catalog.parquet_parts`).
        encoding: Encoding of the files; None is UTF-8.
    """
    from pyspark.sql import functions as F  # noqa: PLC0415

    if kind in ONE_TASK_FORMATS:  # a record may have several lines: one task reads a file from its start to its end
        spark = spark.newSession()
        spark.conf.set("spark.sql.files.maxPartitionBytes", NEVER_SPLIT)
        spark.conf.set("spark.sql.files.openCostInBytes", NEVER_SPLIT)
    frames = []
    paths = list(map(escape_glob, files))
    encoding = encoding if kind != "xml" else None  # each XML file declares its own
    # Spark's readers cannot unpack ZIP and Zstandard, or decode other encodings than UTF-8: one task reads such a file.
    whole = [file for file in paths if encoding is not None or file.lower().endswith((".zip", ".zst"))]
    if streamed := [file for file in paths if file not in whole]:
        lines = spark.read.text(streamed, wholetext=kind == "json", lineSep="\n" if kind in ONE_TASK_FORMATS else None)
        frames.append(lines.select(*make_place_columns(), F.col("value").cast("binary").alias("value")))
    if whole:
        contents = spark.read.format("binaryFile").load(whole).select("_metadata.file_path", "content")
        unpack = partial(unpack_files, kind=kind, encoding=encoding)
        frames.append(contents.mapInArrow(unpack, f"{_FILE} string, {_BLOCK} long, value binary"))
    rows = frames[0] if len(frames) == 1 else frames[0].unionByName(frames[1])
    # Compared as bytes, because a line that is not UTF-8 is not blank.
    return rows.where(F.col("value").cast("string").rlike(r"[^\s\uFEFF]")) if kind == "jsonl" else rows


def unpack_files(
    batches: Iterable[pa.RecordBatch], kind: CatalogFormat, encoding: str | None
) -> Iterator[pa.RecordBatch]:
    """Yield file, block and value of each line (of each document, for JSON); a member of an archive is a block.

    Raises:
        UnreadableFileError: An archive is broken.
    """
    for batch in batches:
        for path, content in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            yield from unpack_file(path, io.BytesIO(content), kind, encoding)


def unpack_file(path: str, file: IO[bytes], kind: CatalogFormat, encoding: str | None) -> Iterator[pa.RecordBatch]:
    """Yield file, block and value of each line of one file, which may be packed, like `scan_blocks`.

    Args:
        path: Path or URI of the file.
        file: Seekable stream of its bytes.
        kind: Catalogue format other than Parquet.
        encoding: Encoding of the file; None is UTF-8.

    Raises:
        UnreadableFileError: An archive is broken.
    """
    names = [_FILE, _BLOCK, "value"]
    for block, (_, stream) in enumerate(open_members(path, file)):
        values = iter_values(stream, kind, encoding)
        if kind == "jsonl":
            values = (line for line in values if not is_blank(line))
        while chunk := list(islice(values, LINES_PER_BATCH)):
            columns = [pa.array([path] * len(chunk)), pa.array([block] * len(chunk), pa.int64())]
            yield pa.RecordBatch.from_arrays([*columns, pa.array(chunk, pa.binary())], names)


def place_parquet_batches(
    path: str, batches: Iterable[pa.RecordBatch], mapped: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Yield batches of one Parquet file in the form that `read_parquet_files` reads.

    Args:
        path: Path or URI of the file.
        batches: Rows of the file, with mapped columns only.
        mapped: The names behind the numbers of the columns.
    """
    for batch in batches:
        names = [_FILE, _BLOCK, *(f"c{mapped.index(name)}" for name in batch.schema.names)]
        places = [pa.array([path] * batch.num_rows, pa.string()), pa.array([0] * batch.num_rows, pa.int64())]
        yield pa.RecordBatch.from_arrays([*places, *batch.columns], names)


def make_place_columns() -> "tuple[Column, Column]":
    """Return the Spark columns of a row's file and block."""
    from pyspark.sql import functions as F  # noqa: PLC0415

    return F.col("_metadata.file_path").alias(_FILE), F.col("_metadata.file_block_start").alias(_BLOCK)


def get_record_reader(kind: CatalogFormat, mapping: SourceMapping) -> RecordReader:
    """Return the function that reads records from the batches of `scan_blocks`."""
    readers: dict[CatalogFormat, RecordReader] = {
        "parquet": partial(read_parquet_files, columns=tuple(mapping.list_columns())),
        "jsonl": read_json_lines,
        "json": read_json_arrays,
        "csv": partial(read_csv, delimiter=mapping.delimiter, mapped=frozenset(mapping.list_columns())),
        "xml": read_xml,
    }
    return readers[kind]


def count_rows_by_block(rows: "DataFrame") -> dict[CatalogBlock, int]:
    """Return the number of rows of each block, for formats in which each row is one record."""
    counted = rows.groupBy(_FILE, _BLOCK).count().collect()
    return {(row[0], row[1]): row[2] for row in counted}


def read_parquet_files(batches: Iterable[pa.RecordBatch], columns: Sequence[str]) -> Iterator[RawRecord]:
    """Yield one record per row; values are Python objects (dates, decimals, lists, maps as lists of pairs).

    Args:
        batches: Batches of `jobs.catalog.parquet_parts.scan_parquet_files`.
        columns: The names behind the numbers of the columns.
    """
    for batch in batches:
        names = batch.schema.names[2:]
        renamed = batch.select(names).rename_columns([columns[int(name[1:])] for name in names])
        for block, row in zip(_blocks(batch), renamed.to_pylist(), strict=True):
            yield RawRecord(block, ParsedRecord(row, None))


def read_json_lines(batches: Iterable[pa.RecordBatch]) -> Iterator[RawRecord]:
    """Yield one record per line."""
    for block, line in _values(batches):
        yield RawRecord(block, parse_json_line(line))


def read_json_arrays(batches: Iterable[pa.RecordBatch]) -> Iterator[RawRecord]:
    """Yield the records of whole files.

    Raises:
        UnreadableFileError: A file is not a JSON array.
    """
    for block, document in _values(batches):
        try:
            items = parse_json_array(document)
        except ValueError as error:
            raise UnreadableFileError(f"{block[0]} {error}") from error
        for item in items:
            yield RawRecord(block, item)


def read_csv(
    batches: Iterable[pa.RecordBatch], delimiter: str | None = None, mapped: frozenset[str] = frozenset()
) -> Iterator[RawRecord]:
    """Yield the records of files given line by line, in order.

    Args:
        batches: Batches of `scan_blocks`.
        delimiter: Delimiter of the mapping; None: detect it from the heading.
        mapped: Columns that the mapping uses.

    Raises:
        UnreadableFileError: The heading of a file cannot be read, or names a mapped column twice.
    """
    for block, lines in groupby(_values(batches), key=lambda value: value[0]):
        try:
            records = CsvRecords((line for _, line in lines), delimiter)
        except ValueError as error:
            raise UnreadableFileError(f"{block[0]}: {error}") from error
        twice = {name for name in records.columns if name in mapped and records.columns.count(name) > 1}
        if twice:
            raise UnreadableFileError(f"{block[0]}: the column names {sorted(twice)} occur more than once")
        for record in records:
            yield RawRecord(block, record)


def read_xml(batches: Iterable[pa.RecordBatch]) -> Iterator[RawRecord]:
    """Yield the records of XML files given line by line, in order.

    Raises:
        UnreadableFileError: A file is not XML, is truncated, has a document type declaration, or holds no records.
    """
    for block, lines in groupby(_values(batches), key=lambda value: value[0]):
        try:
            for record in parse_xml(join_lines(line for _, line in lines)):
                yield RawRecord(block, record)
        except XmlError as error:
            raise UnreadableFileError(f"{block[0]} {error}") from error


def join_lines(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield lines with the line feeds that were between them, so that the bytes are those of the file."""
    for number, line in enumerate(lines):
        yield b"\n" + line if number else line


def _values(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[CatalogBlock, bytes]]:
    for batch in batches:
        yield from zip(_blocks(batch), batch.column(2).to_pylist(), strict=True)


def _blocks(batch: pa.RecordBatch) -> Iterator[CatalogBlock]:
    return zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)


def quote_name(name: str) -> str:
    """Return a column's name quoted for Spark SQL."""
    return "`" + name.replace("`", "``") + "`"
