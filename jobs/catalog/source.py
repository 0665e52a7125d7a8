"""Opens the catalogue of a run for Spark: its path, format, mapping, record counts and allowed image roots.

``{date}`` in the catalogue's name is the snapshot date. An error of the source as a whole stops the run here, before a
row is written. An error of one record affects that record only.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import fsspec
import pyarrow as pa
from charset_normalizer import from_bytes
from pyspark.errors import PythonException
from pyspark.sql import functions as F

from jobs.catalog.delivery import Delivery, check_packed_files, list_delivery, to_spark_path
from jobs.catalog.faults import READ_FAILURES, explain_read_failure
from jobs.catalog.formats import CatalogBlock, RecordReader, count_rows_by_block, get_record_reader, scan_blocks
from jobs.catalog.mapping import catalog_folder, locate_catalog, read_allowed_roots, read_mapping
from jobs.catalog.parquet_parts import open_parquet_session, read_footers, scan_parquet_files
from jobs.catalog.parts import UnreadableFileError
from jobs.catalog.records import CatalogFormat
from jobs.catalog.survey import Survey, is_complete, unite_columns
from jobs.errors import NightStoppedError
from jobs.spark.worker_errors import is_worker_error, read_worker_message
from jobs.state.run_context import RunContext
from schemas.source import SourceMapping
from schemas.uri import is_web

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)

ENCODING_SAMPLE_BYTES = 4096

SAMPLED_RECORDS = 100
"""Records of a JSON Lines catalogue in which the columns of the mapping are looked for."""

_SUMMARY = "file string, block long, records long, columns string, problem string"


@dataclass(frozen=True)
class CatalogSource:
    """A catalogue that is ready to be read by tasks.

    Attributes:
        rows: Input rows of the tasks (`jobs.catalog.formats.scan_blocks`).
        read: Converts a task's batches into raw records.
        counts: Number of records in every block; the sum is the number of records delivered.
        mapping: Source mapping: roles of the columns.
        image_base: Canonical URI that relative image paths start from.
        delivery: The files.
    """

    rows: "DataFrame"
    read: RecordReader
    counts: Mapping[CatalogBlock, int]
    mapping: SourceMapping
    image_base: str
    delivery: Delivery

    def offsets(self) -> dict[CatalogBlock, int]:
        """Return the `source_row` of each block's first record: files by name, then blocks by byte offset."""
        numbers = {}
        total = 0
        for block in sorted(self.counts):
            numbers[block] = total
            total += self.counts[block]
        return numbers


def resolve_catalog_path(context: RunContext) -> str:
    """Return the location of the run's catalogue, see `jobs.catalog.mapping.locate_catalog`."""
    return locate_catalog(context.settings, context.date)


def load_mapping(context: RunContext) -> SourceMapping:
    """Return the mapping of the run's catalogue, see `jobs.catalog.mapping.read_mapping`."""
    return read_mapping(context.settings, context.date)


def list_allowed_roots(context: RunContext) -> tuple[str, ...]:
    """Return the canonical URIs of the folders that images may come from, by the settings, else by the mapping.

    Raises:
        NightStoppedError: Neither roots nor a catalogue are set, or there is no driver for a root's store.
    """
    roots = read_allowed_roots(context.settings, context.date)
    for root in roots:
        _check_store(root)
    return roots


def open_source(context: RunContext) -> CatalogSource:
    """Return the catalogue of the run's date, its records counted and the columns of its mapping found.

    Raises:
        NightStoppedError: No such catalogue or mapping, an unknown or broken format, a missing column, no records.
        CatalogFaultError: Reading failed, but not because of the files.
    """
    path = resolve_catalog_path(context)
    mapping = load_mapping(context)
    files: list[str] = []
    try:
        delivery = list_delivery(context.spark, path, mapping)
        files = delivery.files
        rows, survey = _scan(context.spark, delivery, mapping)
    except PythonException as error:
        if not is_worker_error(error, UnreadableFileError):
            raise
        raise NightStoppedError(f"cannot read the catalogue: {read_worker_message(error)}") from error
    except READ_FAILURES as error:
        raise explain_read_failure(path, files, error) from error
    except UnreadableFileError as error:
        raise NightStoppedError(f"cannot read the catalogue: {error}") from error
    if not sum(survey.counts.values()):
        raise NightStoppedError(f"the catalogue {path} has no records; nothing was changed")
    _check_columns(path, mapping, survey)
    image_base = mapping.resolve_image_base(catalog_folder(path))
    read = get_record_reader(delivery.kind, mapping)
    return CatalogSource(rows, read, survey.counts, mapping, image_base, delivery)


def _scan(spark: "SparkSession", delivery: Delivery, mapping: SourceMapping) -> "tuple[DataFrame, Survey]":
    """Return the rows of a delivery and the survey from one pass over all files."""
    if delivery.kind != "parquet":
        rows = scan_blocks(spark, delivery.files, delivery.kind, mapping.encoding)
        survey = _survey(rows, delivery.kind, mapping)
        if mapping.encoding is None and delivery.kind != "xml":
            _report_encoding(rows)
        check_packed_files(delivery, rows, survey.counts)
        return rows, survey
    # Parquet: a row is a record, and the footers have the columns. Nothing is parsed.
    session = open_parquet_session(spark)
    mapped = mapping.list_columns()
    footers = read_footers(session, delivery.files, set(mapped).difference(delivery.partitions))
    columns = list(dict.fromkeys([name for footer in footers.values() for name in footer.names] + delivery.partitions))
    base = to_spark_path(catalog_folder(delivery.path))
    rows = scan_parquet_files(session, footers, base, delivery.partitions, mapped)
    return rows, Survey(count_rows_by_block(rows), columns, is_complete=True)


def _survey(rows: "DataFrame", kind: CatalogFormat, mapping: SourceMapping) -> Survey:
    """Count the records of a text format and list their columns.

    Raises:
        UnreadableFileError: A file is broken as a whole.
    """
    # Tasks parse the records and return one summary per block. JSON Lines are parsed in a sample only.
    sampled = rows.limit(SAMPLED_RECORDS) if kind == "jsonl" else rows
    summaries = sampled.mapInArrow(partial(summarise_blocks, read=get_record_reader(kind, mapping)), _SUMMARY).collect()
    problem = next((row.problem for row in summaries if row.problem), None)
    if problem:
        raise UnreadableFileError(problem)
    columns = [json.loads(row.columns) for row in summaries]
    if kind == "jsonl":  # a line is a record
        return Survey(count_rows_by_block(rows), unite_columns(kind, columns), is_complete=is_complete(kind))
    counts = {(row.file, row.block): row.records for row in summaries}
    return Survey(counts, unite_columns(kind, columns), is_complete=is_complete(kind), is_whole=True)


def _report_encoding(rows: "DataFrame") -> None:
    """Warn once for each file that is not UTF-8, with the encoding that it seems to have."""
    broken = rows.where(~F.is_valid_utf8(F.col("value").cast("string")))
    found = broken.groupBy(rows.columns[0]).agg(
        F.count(F.lit(1)).alias("lines"), F.first(F.substring("value", 1, ENCODING_SAMPLE_BYTES)).alias("sample")
    )
    for file, lines, sample in found.collect():
        guess = from_bytes(bytes(sample)).best()
        log.warning(
            "%s is not UTF-8: %d lines cannot be read; it seems to be %s. Say encoding = \"%s\" in the mapping",
            file, lines, guess.encoding if guess else "cp1252", guess.encoding if guess else "cp1252",
        )  # fmt: skip


def summarise_blocks(batches: Iterable[pa.RecordBatch], read: RecordReader) -> Iterator[pa.RecordBatch]:
    """Yield (file, block, records, columns, problem) for every block of a task.

    Args:
        batches: The task's share of `jobs.catalog.formats.scan_blocks`.
        read: The reader of the format.
    """
    try:
        for (file, block), records in groupby(read(batches), key=lambda record: record.block):
            count = 0
            columns: dict[str, None] = {}
            for record in records:
                count += 1
                columns.update(dict.fromkeys(record.parsed.record or ()))
            yield _make_summary(file, block, count, list(columns), None)
    except UnreadableFileError as error:
        yield _make_summary("", 0, 0, [], str(error))


def _make_summary(file: str, block: int, records: int, columns: list[str], problem: str | None) -> pa.RecordBatch:
    names = ["file", "block", "records", "columns", "problem"]
    values = [[file], [block], [records], [json.dumps(columns)], pa.array([problem], pa.string())]
    return pa.RecordBatch.from_arrays([pa.array(value) for value in values], names)


def _check_columns(path: str, mapping: SourceMapping, survey: Survey) -> None:
    """Check that the source has the mapped columns; in a sample only id and title must occur."""
    missing, needed = survey.find_missing(mapping)
    if needed:
        words = [f"{name!r}" + (f" (did you mean {near!r}?)" if near else "") for name, near in needed.items()]
        raise NightStoppedError(
            f"the mapping names {', '.join(words)}, but the catalogue {path} has only the columns "
            f"{', '.join(map(repr, (survey.columns or [])[:50]))}. Correct the mapping; `moon check-source` shows both"
        )
    if missing:
        looked = "" if survey.is_whole else f" among the first {SAMPLED_RECORDS}"
        log.warning("no record%s of %s has %s", looked, path, ", ".join(map(repr, missing)))


def _check_store(root: str) -> None:
    """Check that the driver for each root's object store is installed, before a task fails on it."""
    if is_web(root):
        return  # the stage fetch has its own client
    try:
        fsspec.get_filesystem_class(urlsplit(root).scheme)
    except ValueError as error:
        raise NightStoppedError(f"images under {root} cannot be reached: {error}") from error
    except ImportError as error:
        raise NightStoppedError(
            f"images under {root} cannot be reached: {error}. The extra `stores` has the drivers of S3, Google Cloud "
            "Storage and Azure: pip install '.[stores]'"
        ) from error
