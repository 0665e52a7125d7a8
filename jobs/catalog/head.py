"""Reads the head of a catalogue, its columns and first records, without Spark and without reading the rest.

It uses the parsers of the stage pull (`jobs.catalog.records`), so it shows the records that a run would read.
"""

import codecs
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import unquote

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.catalog.archives import (
    MAX_ARRAY_BYTES,
    check_array_sizes,
    choose_data_files,
    detect_format,
    iter_chunks,
    iter_lines,
    open_members,
    take_bytes,
)
from jobs.catalog.mapping import catalog_folder, has_pattern
from jobs.catalog.parts import has_subfolders, list_local_files
from jobs.catalog.records import (
    HEAD_BYTES,
    PACKED_SUFFIXES,
    CatalogFormat,
    CsvRecords,
    ParsedRecord,
    guess_catalog_format,
    is_blank,
    is_json_document,
    make_record,
    parse_json_array,
    parse_json_line,
)
from jobs.catalog.xml_records import parse_xml
from jobs.errors import MoonError
from schemas.source_mapping import SourceFormat, SourceMapping
from schemas.uri import is_web

NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
READ_ERRORS = (OSError, EOFError, ValueError, ImportError, pa.ArrowException)
"""What reading a file raises where it is broken, is not there, or its store has no driver."""

MAX_OBJECT_BYTES = 8 << 20
"""A longer text that is no complete JSON value is broken: no product's record is as long."""


@dataclass(frozen=True)
class CatalogHead:
    """The files, columns and first records of a catalogue.

    Attributes:
        files: All files of the catalogue, sorted; the records are those of the first.
        format: Format of the files.
        columns: Names in the order of the source; for JSON, those that occur in the records.
        records: The first records, or their errors.
        whole: Whether `records` are all records of the first file.
        duplicate_columns: Names that the heading has more than once.
        partitions: For each file, the columns from its ``name=value`` folders (Parquet).
        has_subfolders: Whether files are in folders that are not partitions.
    """

    files: list[str]
    format: CatalogFormat
    columns: list[str]
    records: list[ParsedRecord]
    whole: bool
    duplicate_columns: list[str] = field(default_factory=list)
    partitions: list[dict[str, str | None]] = field(default_factory=list)
    has_subfolders: bool = False


def read_head(catalog: str, limit: int = 100, mapping: SourceMapping | None = None) -> CatalogHead:
    """Return the first records of a catalogue.

    Args:
        catalog: File, folder, glob or URI; ``{date}`` stands for the latest date found.
        limit: Maximum number of records.
        mapping: Source of format, delimiter and encoding; None: detect them from the files.

    Raises:
        MoonError: There is no such file, it cannot be read in its format, or a part of the catalogue would not be read.
    """
    kind = mapping.format if mapping else "auto"
    try:
        files, chosen, are_folders = _list_files(catalog, kind)
        with fsspec.open(files[0], "rb") as file:
            if chosen == "parquet":
                columns, records, whole = _read_parquet(file, limit)
            else:
                members = open_members(files[0], file)  # an archive is open as long as this is
                stream: Any = next(members)[1]
                if stream is file:
                    stream = io.BufferedReader(file, HEAD_BYTES)
                if chosen == "json" and kind == "auto":
                    head = stream.peek(HEAD_BYTES).removeprefix(codecs.BOM_UTF8).lstrip().partition(b"\n")[0]
                    chosen = "json" if is_json_document(head, mapping.id if mapping else None) else "jsonl"
                iterate = iter_chunks if chosen in ("json", "xml") else iter_lines
                pieces = iterate(stream, mapping.encoding if mapping and chosen != "xml" else None)
                delimiter = mapping.delimiter if mapping else None
                columns, records, whole = _read_text(pieces, chosen, limit, delimiter)
        if chosen == "json":
            check_array_sizes({file: Path(file).stat().st_size for file in files if "://" not in file})
    except READ_ERRORS as error:
        raise MoonError(f"cannot read {catalog}: {' '.join(str(error).split()) or type(error).__name__}") from error
    partitions = [read_partitions(file, catalog) if chosen == "parquet" else {} for file in files]
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if chosen == "parquet":
        columns = [*columns, *partitions[0]]
        records = [ParsedRecord({**(parsed.record or {}), **partitions[0]}, parsed.error) for parsed in records]
    elif chosen != "csv":
        columns = list(dict.fromkeys(name for parsed in records for name in parsed.record or ()))
    return CatalogHead(
        files, chosen, list(dict.fromkeys(columns)), records, whole, twice, partitions, has_subfolders=are_folders
    )


def estimate_records(head: CatalogHead) -> int | None:
    """Return about how many records the files of a catalogue have; None where their sizes do not tell.

    Parquet says it. In texts all records are taken to be as long as the first ones.
    """
    if head.whole and len(head.files) == 1:
        return len(head.records)
    lengths = [_measure_record(parsed.record, head.format) for parsed in head.records if parsed.record is not None]
    if not lengths or any("://" in file or file.lower().endswith(PACKED_SUFFIXES) for file in head.files):
        return None
    try:
        if head.format == "parquet":
            return sum(int(pq.read_metadata(file).num_rows) for file in head.files)
        size = sum(Path(file).stat().st_size for file in head.files)
    except (OSError, pa.ArrowException):
        return None
    return max(len(head.records), round(size * len(lengths) / sum(lengths)))


def list_catalog_files(catalog: str, kind: SourceFormat = "auto") -> tuple[list[str], CatalogFormat]:
    """Return the data files of a catalogue, sorted, and their format.

    Raises:
        MoonError: There are none.
        UnreadableFileError: A run would not read all parts of the catalogue, or they are of several formats.
    """
    files, chosen, _ = _list_files(catalog, kind)
    return files, chosen


def _list_files(catalog: str, kind: SourceFormat) -> tuple[list[str], CatalogFormat, bool]:
    """Return the result of `list_catalog_files`, and whether files are in folders that are not partitions."""
    if "://" in catalog and not catalog.startswith("file://"):
        if is_web(catalog) or (guess_catalog_format(catalog) and not has_pattern(catalog)):
            known = guess_catalog_format(catalog) is not None
            return [catalog], detect_format(catalog, [catalog], kind, {}) if known else "csv", False
        found = _list_objects(catalog)
        names, chosen = choose_data_files(catalog, found, kind)
        return [found[one][0] for one in names], chosen, has_subfolders(names)
    name = catalog.removeprefix("file://")
    if "{date}" in name:
        days = _list_matches(name.replace("{date}", "????-??-??"))
        if not days:
            raise MoonError(f"there is no {name} for any date")
        name = days[-1]
    path = Path(name)
    if path.exists():  # its name may hold characters of a glob
        found = list_local_files(path)
    else:
        parent = Path(catalog_folder(name))
        matches = (Path(match) for match in _list_matches(name))
        listed = (file for match in matches for file in list_local_files(match).values())
        found = {Path(file).relative_to(parent).as_posix(): (file, size) for file, size in listed}
    if not found:
        raise MoonError(f"there is no catalogue at {name}: no such file or folder, or nothing in it")
    names, chosen = choose_data_files(name, found, kind)
    return [found[one][0] for one in names], chosen, has_subfolders(names)


def _list_objects(catalog: str) -> dict[str, tuple[str, int]]:
    """Return (URI, bytes) of the files of a catalogue in an object store, by the path relative to its folder."""
    store, path = fsspec.url_to_fs(catalog)
    if "{date}" in path:
        days = sorted(store.glob(path.replace("{date}", "????-??-??")))
        if not days:
            raise MoonError(f"there is no {catalog} for any date")
        path = days[-1]
    folder = path if store.isdir(path) else store._strip_protocol(catalog_folder(catalog))
    files: dict[str, dict[str, Any]] = {}
    for match in [path] if store.exists(path) else sorted(store.glob(path)):
        files |= {name: info for name, info in store.find(match, detail=True).items() if info["type"] == "file"}
    if not files:
        raise MoonError(f"there is no catalogue at {catalog}: no such file or folder, or nothing in it")
    return {
        PurePosixPath(name).relative_to(folder).as_posix(): (store.unstrip_protocol(name), info["size"] or 0)
        for name, info in files.items()
    }


def _list_matches(pattern: str) -> list[str]:
    path = Path(pattern).absolute()
    return sorted(str(p) for p in Path(path.anchor).glob(str(path.relative_to(path.anchor))))


def read_partitions(file: str, catalog: str) -> dict[str, str | None]:
    """Return the values of the ``name=value`` folders between a catalogue and one of its files, as Spark reads them."""
    start = catalog.rstrip("/") + "/"
    folders = PurePosixPath(file[len(start) :]).parent.parts if file.startswith(start) else ()
    pairs = [part.split("=", 1) for part in folders if "=" in part]
    return {name: None if value == NULL_PARTITION else unquote(value) for name, value in pairs}


_Read = tuple[list[str], list[ParsedRecord], bool]


def _read_parquet(file: IO[bytes], limit: int) -> _Read:
    table = pq.ParquetFile(file)
    rows: list[dict[str, Any]] = []
    for batch in table.iter_batches(batch_size=limit):
        rows += batch.to_pylist()
        if len(rows) >= limit:
            break
    whole = table.metadata.num_rows <= limit
    return table.schema_arrow.names, [ParsedRecord(row, None) for row in rows[:limit]], whole


def _read_text(pieces: Iterator[bytes], kind: CatalogFormat, limit: int, delimiter: str | None) -> _Read:
    """Return columns (of CSV) and records of a text file given in lines or, for JSON, in chunks of any size."""
    if kind == "csv":
        records = CsvRecords((line.removesuffix(b"\n") for line in pieces), delimiter)
        return _take_head(records.columns, iter(records), limit)
    if kind == "xml":
        return _take_head([], parse_xml(pieces), limit)
    if kind == "jsonl":
        return _take_head([], (parse_json_line(line) for line in pieces if not is_blank(line)), limit)
    return _take_head([], iter_json(pieces), limit)


def iter_json(pieces: Iterator[bytes]) -> Iterator[ParsedRecord]:
    """Yield the records of a JSON document, an array or an object that wraps one, given in chunks of any size.

    Raises:
        ValueError: The document is broken; raised after the records that come before the damage.
    """
    first = next((chunk for chunk in pieces if not is_blank(chunk)), b"")
    if first.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"["):
        yield from _Array(chain([first], pieces))
        return
    # An object that wraps the array must be read to its end to know which of its values is the array.
    yield from parse_json_array(b"".join(chain([first], take_bytes(pieces, MAX_ARRAY_BYTES))))


def _take_head(columns: list[str], records: Iterator[ParsedRecord], limit: int) -> _Read:
    found = list(islice(records, limit + 1))
    return columns, found[:limit], len(found) <= limit


class _Array:
    """Iterates over the elements of a JSON array, without reading further than needed."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""  # what was read and is not parsed yet

    def __iter__(self) -> Iterator[ParsedRecord]:
        """Yield the elements.

        Raises:
            ValueError: The text is not a JSON array.
        """
        self._expect("[")
        if self._peek() == "]":
            self._expect("]")
        else:
            yield make_record(self._read_item())
            while self._expect(",]") == ",":
                yield make_record(self._read_item())
        if self._peek():
            raise ValueError(f"not a JSON array: found {self._text[:20]!r} after its end")

    def _read_more(self) -> bool:
        chunk = next(self._chunks, b"")
        self._text += self._decoder.decode(chunk, final=not chunk)
        return bool(chunk)

    def _peek(self) -> str:
        """Return the next character that is not white space; an empty text at the end of the file."""
        while not self._text.lstrip() and self._read_more():
            pass
        self._text = self._text.lstrip()
        return self._text[:1]

    def _expect(self, options: str) -> str:
        found = self._peek()
        if not found or found not in options:
            near = repr(self._text[:20]) if found else "the end of the file"
            raise ValueError(f"not a JSON array: found {near} where {' or '.join(options)} is expected")
        self._text = self._text[1:]
        return found

    def _read_item(self) -> Any:
        self._peek()
        while True:
            try:
                item, end = json.JSONDecoder().raw_decode(self._text)
            except RecursionError as error:
                raise ValueError("not a JSON array: nested too deeply") from error
            except ValueError as error:
                # The item is broken or incomplete: this is known only at the end of the file or at the limit.
                if len(self._text) > MAX_OBJECT_BYTES or not self._read_more():
                    raise ValueError(f"not a JSON array: {error}, in {self._text[:40]!r}") from error
            else:
                # A number at the very end of the text may continue in the next chunk.
                if end < len(self._text) or not self._read_more():
                    self._text = self._text[end:]
                    return item


def _measure_record(record: dict[str, Any], kind: CatalogFormat) -> int:
    """Return about how many bytes a record takes in a file of a format."""
    if kind in ("json", "jsonl"):
        return len(json.dumps(record, ensure_ascii=False, default=str).encode()) + 1
    values = sum(len(str(value).encode()) for value in record.values() if value is not None)
    if kind == "xml":  # <name>value</name>
        return values + sum(2 * len(name) + 5 for name in record)
    return values + len(record)  # a delimiter or the line's end after each field
