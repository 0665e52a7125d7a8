"""The catalogue of a night: where it lies, what its mapping says, and where its images may come from.

``{date}`` in the catalogue's name is the snapshot date. Whatever is wrong with the source as a whole stops the night
here, before a row is written; what is wrong with one record is that record's own error.
"""

import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path, PurePosixPath
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
    count_parquet_rows,
    get_record_reader,
    list_source_columns,
    scan_blocks,
    select_columns,
)
from jobs.catalog.records import FORMAT_SUFFIXES, CatalogFormat, guess_catalog_format, is_json_array
from jobs.errors import NightStoppedError
from jobs.state.run_context import RunContext
from schemas.source import MappingError, SourceMapping
from schemas.uri import FILE_SCHEME, folder_uri

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)

SAMPLED_RECORDS = 100
"""Records of a JSON Lines catalogue that are looked at for the columns the mapping names."""

_GLOB = re.compile(r"[*?\[\]{}]")
_SUFFIX = re.compile(r"^.*?((\.[^./]+(\.gz)?)?)$")
_SUMMARY = "file string, block long, records long, columns string, problem string"


@dataclass(frozen=True)
class CatalogSource:
    """A catalogue that can be read.

    Attributes:
        rows: what Spark gives the tasks.
        read: turns a task's batches into raw records.
        counts: records of every block; their sum is what was delivered.
        mapping: which column is what.
        image_base: canonical URI that relative image paths start from.
    """

    rows: "DataFrame"
    read: RecordReader
    counts: Mapping[CatalogBlock, int]
    mapping: SourceMapping
    image_base: str

    def offsets(self) -> dict[CatalogBlock, int]:
        """Return the number of each block's first record: files by name, then blocks by place."""
        numbers, total = {}, 0
        for block in sorted(self.counts):
            numbers[block] = total
            total += self.counts[block]
        return numbers


def resolve_catalog_path(context: RunContext) -> str:
    """Return the catalogue of the night's date: an absolute path or a URI, perhaps a glob.

    Raises:
        NightStoppedError: no catalogue was named.
    """
    catalog = context.settings.catalog
    if not catalog:
        raise NightStoppedError("no catalogue: name it with --catalog PATH or MOON_CATALOG")
    path = catalog.replace("{date}", context.date).removeprefix(FILE_SCHEME)
    return path if "://" in path else os.path.abspath(path)  # noqa: PTH100  (Path would fold a glob's //)


def catalog_folder(path: str) -> str:
    """Return the folder of a catalogue: of a file its folder, of a glob the part before it."""
    scheme, parts = ("", path) if "://" not in path else path.split("://", 1)
    names = PurePosixPath(parts).parts
    globs = [index for index, name in enumerate(names) if _GLOB.search(name)]
    fixed = globs[0] if globs and not Path(path).exists() else len(names)
    if fixed == len(names) and (guess_catalog_format(names[-1]) or Path(path).is_file()):
        fixed -= 1
    folder = str(PurePosixPath(*names[:fixed]))
    return f"{scheme}://{folder}" if scheme else folder


def load_mapping(context: RunContext) -> SourceMapping:
    """Return the mapping that was named, else ``mapping.toml`` beside the catalogue or one folder above.

    Raises:
        NightStoppedError: there is none, or it cannot be used.
    """
    catalog = resolve_catalog_path(context)
    folder = Path(catalog_folder(catalog))
    named = context.settings.mapping
    candidates = [Path(named)] if named else [folder / "mapping.toml", folder.parent / "mapping.toml"]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise NightStoppedError(
            f"no mapping at {' or '.join(map(str, candidates))}: `moon check-source --catalog {catalog}` suggests "
            "one; save it beside the catalogue as mapping.toml or name it with --mapping FILE"
        )
    try:
        return SourceMapping.load(found)
    except MappingError as error:
        raise NightStoppedError(str(error)) from error


def list_allowed_roots(context: RunContext) -> tuple[str, ...]:
    """Return the canonical URIs of the folders that images may come from.

    Raises:
        NightStoppedError: neither roots nor a catalogue were named, or a root's store cannot be reached from here.
    """
    if context.settings.allowed_roots:
        roots = tuple(folder_uri(root) for root in context.settings.allowed_roots)
    else:
        roots = (load_mapping(context).resolve_image_base(catalog_folder(resolve_catalog_path(context))),)
    for root in roots:
        _check_store(root)
    return roots


def open_source(context: RunContext) -> CatalogSource:
    """Find the catalogue, count its records and check that it has what the mapping names.

    Raises:
        NightStoppedError: no such catalogue or mapping, an unknown or broken format, a missing column, no records.
    """
    path, mapping = resolve_catalog_path(context), load_mapping(context)
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
    return CatalogSource(
        rows, get_record_reader(kind), survey.counts, mapping, mapping.resolve_image_base(catalog_folder(path))
    )


def _scan(spark: "SparkSession", path: str, mapping: SourceMapping) -> "tuple[DataFrame, CatalogFormat]":
    """Tell the catalogue's format by its files' names and return its rows."""
    where = _spark_path(path)
    found = spark.read.format("binaryFile").load(where).select("path", "length").collect()
    files = _select_data_files(path, {row.path: row.length for row in found}, mapping)
    kind = _detect_format(path, files, mapping)
    suffixes = sorted({_SUFFIX.sub(r"\1", name) for name in files})
    glob = "*{" + ",".join(suffixes) + "}" if all(suffixes) else "*"
    if mapping.format == "auto" and kind == "json" and not _is_array(spark, where, glob):
        kind = "jsonl"
    largest = max(files, key=lambda name: files[name])
    if kind == "json" and files[largest] > MAX_ARRAY_BYTES:
        raise UnreadableFileError(
            f"{largest} is a JSON array of {files[largest]:,} bytes, and one task parses an array in one piece: at "
            f"most {MAX_ARRAY_BYTES:,}. Deliver it as JSON Lines (one object a line) or Parquet"
        )
    return scan_blocks(spark, where, glob, kind), kind


def _select_data_files(path: str, files: dict[str, int], mapping: SourceMapping) -> dict[str, int]:
    """Leave out what is no data: a mapping or a licence beside it. A format that the mapping names needs no suffix."""
    known = {name: size for name, size in files.items() if guess_catalog_format(name)}
    found = known or (files if mapping.format != "auto" else {})
    if not found:
        raise UnreadableFileError(
            f"{path} holds no file that ends in {', '.join(FORMAT_SUFFIXES)} (.gz allowed); rename it, or say "
            f"which it is "
            'with format = "…" in the mapping'
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


def _is_array(spark: "SparkSession", where: str, glob: str) -> bool:
    lines = scan_blocks(spark, where, glob, "jsonl")
    head = lines.select(F.substring(lines.columns[2], 1, 64).alias("head")).head()
    return head is not None and is_json_array(bytes(head.head))


@dataclass(frozen=True)
class _Survey:
    """What one look at the whole catalogue found; `complete`: no record can have a column that is not listed."""

    counts: dict[CatalogBlock, int]
    columns: list[str]
    complete: bool


def _survey(rows: "DataFrame", kind: CatalogFormat) -> _Survey:
    if kind == "parquet":
        return _Survey(count_parquet_rows(rows), list_source_columns(rows), complete=True)
    looked_at = rows.limit(SAMPLED_RECORDS) if kind == "jsonl" else rows
    summaries = looked_at.mapInArrow(partial(summarise_blocks, read=get_record_reader(kind)), _SUMMARY).collect()
    problem = next((row.problem for row in summaries if row.problem), None)
    if problem:
        raise UnreadableFileError(problem)
    columns = [json.loads(row.columns) for row in summaries]
    if kind == "csv":  # a column that one of several files lacks is missing
        columns = [[name for name in names if all(name in other for other in columns)] for names in columns]
    union = list(dict.fromkeys(name for names in columns for name in names))
    if kind == "jsonl":
        return _Survey(count_parquet_rows(rows), union, complete=False)
    return _Survey({(row.file, row.block): row.records for row in summaries}, union, complete=True)


def summarise_blocks(batches: Iterable[pa.RecordBatch], read: RecordReader) -> Iterator[pa.RecordBatch]:
    """Count a task's records by block and list their columns, as rows of (file, block, records, columns, problem)."""
    names = ["file", "block", "records", "columns", "problem"]
    try:
        for (file, block), records in groupby(read(batches), key=lambda record: record.block):
            count, columns = 0, dict[str, None]()
            for record in records:
                count += 1
                columns.update(dict.fromkeys(record.parsed.record or ()))
            yield pa.RecordBatch.from_arrays(
                [pa.array([value]) for value in (file, block, count, json.dumps(list(columns)))]
                + [pa.array([None], pa.string())],
                names,
            )
    except UnreadableFileError as error:
        yield pa.RecordBatch.from_arrays([pa.array([v]) for v in ("", 0, 0, "[]", str(error))], names)


def _check_columns(path: str, mapping: SourceMapping, survey: _Survey) -> None:
    """Stop for a mapped column that is not there; in a mere sample only id and title must occur."""
    missing = mapping.find_missing_columns(survey.columns) if survey.columns else {}
    needed = (
        missing if survey.complete else {name: missing[name] for name in missing if name in (mapping.id, mapping.title)}
    )
    if needed:
        words = [f"{name!r}" + (f" (did you mean {near!r}?)" if near else "") for name, near in needed.items()]
        raise NightStoppedError(
            f"the mapping names {', '.join(words)}, but the catalogue {path} has only the columns "
            f"{', '.join(map(repr, survey.columns[:50]))}. Correct the mapping; `moon check-source` shows both"
        )
    if missing:
        log.warning("no record among the first %d of %s has %s", SAMPLED_RECORDS, path, ", ".join(map(repr, missing)))


def _check_store(root: str) -> None:
    """Refuse a root whose kind of store has no driver here, before a task fails on it."""
    scheme = urlsplit(root).scheme
    try:
        fsspec.get_filesystem_class(scheme)
    except (ImportError, ValueError) as error:
        raise NightStoppedError(f"images under {root} cannot be reached: {error}") from error


def _spark_path(path: str) -> str:
    """Return a path as Spark's readers want it: S3 by s3a, a name that holds glob characters taken literally."""
    if "://" in path:
        return path.replace("s3://", "s3a://", 1)
    return re.sub(r"([*?\[\]{}\\])", r"\\\1", path) if Path(path).exists() else path


def _first_line(error: Exception) -> str:
    text = error.java_exception.getMessage() if isinstance(error, Py4JJavaError) else str(error)
    return str(text).strip().splitlines()[0]
