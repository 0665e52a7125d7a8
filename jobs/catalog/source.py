"""The catalogue of a run for Spark: its path, format, mapping and record counts, and where its images may come from.

``{date}`` in the catalogue's name is the snapshot date. A fault of the source as a whole stops the run here, before a
row is written. A fault of one record is an error of that record only.
"""

import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import fsspec
import pyarrow as pa
from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException, SparkRuntimeException
from pyspark.sql import functions as F

from jobs.catalog.formats import (
    MAX_ARRAY_BYTES,
    CatalogBlock,
    RecordReader,
    UnreadableFileError,
    count_rows_by_block,
    get_record_reader,
    list_source_columns,
    scan_blocks,
    select_columns,
)
from jobs.catalog.mapping import catalog_folder, list_mapping_files
from jobs.catalog.records import FORMAT_SUFFIXES, CatalogFormat, guess_catalog_format, is_json_array
from jobs.errors import NightStoppedError
from jobs.state.run_context import RunContext
from schemas.source import MappingError, SourceMapping
from schemas.uri import FILE_SCHEME, folder_uri

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)

SAMPLED_RECORDS = 100
"""Records of a JSON Lines catalogue in which the columns of the mapping are looked for."""

_SUFFIX = re.compile(r"^.*?((\.[^./]+(\.gz)?)?)$")
_SUMMARY = "file string, block long, records long, columns string, problem string"


@dataclass(frozen=True)
class CatalogSource:
    """A catalogue that can be read.

    Attributes:
        rows: What Spark gives the tasks (`jobs.catalog.formats.scan_blocks`).
        read: Turns a task's batches into raw records.
        counts: Records of every block; their sum is the number of records delivered.
        mapping: Which column is what.
        image_base: Canonical URI that relative image paths start from.
    """

    rows: "DataFrame"
    read: RecordReader
    counts: Mapping[CatalogBlock, int]
    mapping: SourceMapping
    image_base: str

    def offsets(self) -> dict[CatalogBlock, int]:
        """Return the `source_row` of each block's first record: files by name, then blocks by byte offset."""
        numbers = {}
        total = 0
        for block in sorted(self.counts):
            numbers[block] = total
            total += self.counts[block]
        return numbers


def resolve_catalog_path(context: RunContext) -> str:
    """Return the catalogue of the run's date: an absolute path or a URI, perhaps with a glob.

    Raises:
        NightStoppedError: No catalogue is set.
    """
    catalog = context.settings.catalog
    if not catalog:
        raise NightStoppedError("no catalogue: name it with --catalog PATH or MOON_CATALOG")
    path = catalog.replace("{date}", context.date).removeprefix(FILE_SCHEME)
    return path if "://" in path else os.path.abspath(path)  # noqa: PTH100  (Path would fold a glob's //)


def load_mapping(context: RunContext) -> SourceMapping:
    """Return the mapping of the settings, else ``mapping.toml`` in the catalogue's folder or the one above.

    Raises:
        NightStoppedError: There is none, or it cannot be used.
    """
    catalog = resolve_catalog_path(context)
    named = context.settings.mapping
    candidates = [Path(named)] if named else list_mapping_files(Path(catalog_folder(catalog)))
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise NightStoppedError(
            f"no mapping at {' or '.join(map(str, candidates))}: `moon check-source --catalog {catalog}` suggests "
            "one; save it in the catalogue's folder as mapping.toml or name it with --mapping FILE"
        )
    try:
        return SourceMapping.load(found)
    except MappingError as error:
        raise NightStoppedError(str(error)) from error


def list_allowed_roots(context: RunContext) -> tuple[str, ...]:
    """Return the canonical URIs of the folders that images may come from.

    Raises:
        NightStoppedError: Neither roots nor a catalogue are set, or there is no driver for a root's store.
    """
    if context.settings.allowed_roots:
        roots = tuple(folder_uri(root) for root in context.settings.allowed_roots)
    else:
        roots = (load_mapping(context).image_base(catalog_folder(resolve_catalog_path(context))),)
    for root in roots:
        _check_store(root)
    return roots


def open_source(context: RunContext) -> CatalogSource:
    """Return the catalogue of the run's date, its records counted and the columns of its mapping found.

    Raises:
        NightStoppedError: No such catalogue or mapping, an unknown or broken format, a missing column, no records.
    """
    path = resolve_catalog_path(context)
    mapping = load_mapping(context)
    try:
        rows, kind = _scan(context.spark, path, mapping)
        survey = _survey(rows, kind)
    except (AnalysisException, SparkRuntimeException, Py4JJavaError) as error:
        raise NightStoppedError(f"cannot read the catalogue {path}: {_first_line(error)}") from error
    except UnreadableFileError as error:
        raise NightStoppedError(f"cannot read the catalogue: {error}") from error
    if not sum(survey.counts.values()):
        raise NightStoppedError(f"the catalogue {path} has no records; nothing was changed")
    _check_columns(path, mapping, survey)
    if kind == "parquet":
        rows = select_columns(rows, mapping.list_columns())
    image_base = mapping.image_base(catalog_folder(path))
    return CatalogSource(rows, get_record_reader(kind), survey.counts, mapping, image_base)


def _scan(spark: "SparkSession", path: str, mapping: SourceMapping) -> "tuple[DataFrame, CatalogFormat]":
    """Return the rows of the catalogue's files and their format, which their names tell or the mapping."""
    spark_path = _spark_path(path)
    # Spark lists the files, so that its rules count: hidden files, partition folders, globs.
    found = spark.read.format("binaryFile").load(spark_path).select("path", "length").collect()
    files = _select_data_files(path, {row.path: row.length for row in found}, mapping)
    kind = _detect_format(path, files, mapping)
    # The readers get the folder or glob again, with the suffixes of the data files as a filter.
    suffixes = sorted({_SUFFIX.sub(r"\1", name) for name in files})
    glob = "*{" + ",".join(suffixes) + "}" if all(suffixes) else "*"
    # A .json file is an array or JSON Lines; only its first character tells.
    if mapping.format == "auto" and kind == "json" and not _is_array(spark, spark_path, glob):
        kind = "jsonl"
    largest = max(files, key=lambda name: files[name])
    if kind == "json" and files[largest] > MAX_ARRAY_BYTES:
        raise UnreadableFileError(
            f"{largest} is a JSON array of {files[largest]:,} bytes, and one task parses an array in one piece: at "
            f"most {MAX_ARRAY_BYTES:,}. Deliver it as JSON Lines (one object a line) or Parquet"
        )
    return scan_blocks(spark, spark_path, glob, kind), kind


def _select_data_files(path: str, files: dict[str, int], mapping: SourceMapping) -> dict[str, int]:
    """Return the files with the suffix of a data format; all files if none has one and the mapping names the format."""
    known = {name: size for name, size in files.items() if guess_catalog_format(name)}
    found = known or (files if mapping.format != "auto" else {})
    if not found:
        raise UnreadableFileError(
            f"{path} holds no file that ends in {', '.join(FORMAT_SUFFIXES)} (.gz allowed); rename it, or say which it "
            'is with format = "…" in the mapping'
        )
    return found


def _detect_format(path: str, files: Iterable[str], mapping: SourceMapping) -> CatalogFormat:
    if mapping.format != "auto":
        return mapping.format
    kinds = {kind for name in files if (kind := guess_catalog_format(name))}
    if len(kinds) > 1:
        raise UnreadableFileError(
            f"{path} holds files of several formats ({', '.join(sorted(kinds))}): name files of one format, with a "
            f"glob if need be, such as {path}/*.{min(kinds)}"
        )
    return kinds.pop()


def _is_array(spark: "SparkSession", spark_path: str, glob: str) -> bool:
    lines = scan_blocks(spark, spark_path, glob, "jsonl")
    head = lines.select(F.substring(lines.columns[2], 1, 64).alias("head")).head()
    return head is not None and is_json_array(bytes(head.head))


@dataclass(frozen=True)
class _Survey:
    """The result of one pass over the whole catalogue.

    Attributes:
        counts: Records of every block.
        columns: The source's columns.
        is_complete: Whether no record can have a column that is not listed.
    """

    counts: dict[CatalogBlock, int]
    columns: list[str]
    is_complete: bool


def _survey(rows: "DataFrame", kind: CatalogFormat) -> _Survey:
    """Count the catalogue's records and list its columns.

    Raises:
        UnreadableFileError: A file is broken as a whole.
    """
    # Parquet: a row is a record, and the schema has the columns. Nothing is parsed.
    if kind == "parquet":
        return _Survey(count_rows_by_block(rows), list_source_columns(rows), is_complete=True)
    # Other formats: tasks parse the records and return one summary a block. JSON Lines are parsed in a sample only.
    sampled = rows.limit(SAMPLED_RECORDS) if kind == "jsonl" else rows
    summaries = sampled.mapInArrow(partial(summarise_blocks, read=get_record_reader(kind)), _SUMMARY).collect()
    problem = next((row.problem for row in summaries if row.problem), None)
    if problem:
        raise UnreadableFileError(problem)
    columns = [json.loads(row.columns) for row in summaries]
    # CSV: every record has all columns of its file, so a column that one of several files lacks is missing.
    if kind == "csv":
        columns = [[name for name in names if all(name in other for other in columns)] for names in columns]
    union = list(dict.fromkeys(name for names in columns for name in names))
    # JSON Lines: a line is a record, and later lines may have more columns than the sample.
    if kind == "jsonl":
        return _Survey(count_rows_by_block(rows), union, is_complete=False)
    return _Survey({(row.file, row.block): row.records for row in summaries}, union, is_complete=True)


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


def _check_columns(path: str, mapping: SourceMapping, survey: _Survey) -> None:
    """Stop for a mapped column that the source lacks; in a sample only id and title must occur."""
    missing = mapping.find_missing_columns(survey.columns) if survey.columns else {}
    required = missing if survey.is_complete else (mapping.id, mapping.title)
    needed = {name: near for name, near in missing.items() if name in required}
    if needed:
        words = [f"{name!r}" + (f" (did you mean {near!r}?)" if near else "") for name, near in needed.items()]
        raise NightStoppedError(
            f"the mapping names {', '.join(words)}, but the catalogue {path} has only the columns "
            f"{', '.join(map(repr, survey.columns[:50]))}. Correct the mapping; `moon check-source` shows both"
        )
    if missing:
        log.warning("no record among the first %d of %s has %s", SAMPLED_RECORDS, path, ", ".join(map(repr, missing)))


def _check_store(root: str) -> None:
    """Stop for a root whose kind of store has no driver installed, before a task fails on it."""
    scheme = urlsplit(root).scheme
    try:
        fsspec.get_filesystem_class(scheme)
    except (ImportError, ValueError) as error:
        raise NightStoppedError(f"images under {root} cannot be reached: {error}") from error


def _spark_path(path: str) -> str:
    """Return a path for Spark's readers: s3a for S3, glob characters in the name of an existing file escaped."""
    if "://" in path:
        return path.replace("s3://", "s3a://", 1)
    return re.sub(r"([*?\[\]{}\\])", r"\\\1", path) if Path(path).exists() else path


def _first_line(error: Exception) -> str:
    text = error.java_exception.getMessage() if isinstance(error, Py4JJavaError) else str(error)
    return str(text).strip().splitlines()[0]
