"""The head of a catalogue: its columns and first records, without Spark and without reading the rest.

It uses the parsers of the stage pull (`jobs.catalog.records`): what it shows is what a run would read.
"""

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.catalog.records import (
    FORMAT_SUFFIXES,
    CatalogFormat,
    CsvRecords,
    ParsedRecord,
    guess_catalog_format,
    is_blank,
    is_json_array,
    make_record,
    parse_json_line,
)
from jobs.errors import MoonError

READ_CHUNK_BYTES = 1 << 16
MAX_OBJECT_BYTES = 8 << 20
"""A longer text that is no complete JSON value is broken: no product's record is as long."""


@dataclass(frozen=True)
class CatalogHead:
    """The first records of a catalogue.

    Attributes:
        files: All files of the catalogue; the records are those of the first.
        format: Their format.
        columns: Names in the order of the source; of JSON, those that occur in the records.
        records: The first records, or what is wrong with each.
        whole: Whether `records` are all records of the first file.
        duplicate_columns: Names that the heading has more than once.
    """

    files: list[str]
    format: CatalogFormat
    columns: list[str]
    records: list[ParsedRecord]
    whole: bool
    duplicate_columns: list[str] = field(default_factory=list)


def read_head(catalog: str, limit: int = 100, kind: str = "auto") -> CatalogHead:
    """Return the first records of a catalogue.

    Args:
        catalog: File, folder, glob or URI; ``{date}`` is the latest date that there is.
        limit: Maximum number of records.
        kind: The mapping's format; "auto" takes it from the files' names.

    Raises:
        MoonError: There is no such file, or it cannot be read in its format.
    """
    files = list_catalog_files(catalog)
    try:
        with fsspec.open(files[0], "rb", compression="infer") as file:
            chosen = _detect_format(files[0], kind, file)
            columns, records, whole = _READERS[chosen](file, limit)
    except (OSError, ValueError, ImportError, pa.ArrowException) as error:
        raise MoonError(f"cannot read {files[0]}: {' '.join(str(error).split()) or type(error).__name__}") from error
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if chosen == "parquet":
        columns, records = _add_partition_columns(files[0], catalog, columns, records)
    elif chosen != "csv":
        columns = list(dict.fromkeys(name for parsed in records for name in parsed.record or ()))
    return CatalogHead(files, chosen, list(dict.fromkeys(columns)), records, whole, twice)


def list_catalog_files(catalog: str) -> list[str]:
    """Return the data files of a catalogue, sorted.

    Raises:
        MoonError: There are none.
    """
    if "://" in catalog and not catalog.startswith("file://"):
        return [catalog]
    name = catalog.removeprefix("file://")
    if "{date}" in name:
        days = _list_matches(name.replace("{date}", "????-??-??"))
        if not days:
            raise MoonError(f"there is no {name} for any date")
        name = days[-1]
    path = Path(name)
    found = [str(p) for p in _list_folder(path)] if path.is_dir() else _list_matches(name)
    if path.is_file():  # its name may hold characters of a glob
        found = [name]
    if not found:
        why = f"no file in it ends in {', '.join(FORMAT_SUFFIXES)}" if path.is_dir() else "no such file or folder"
        raise MoonError(f"there is no catalogue at {name}: {why}")
    return found


def _list_matches(pattern: str) -> list[str]:
    path = Path(pattern).absolute()
    return sorted(str(p) for p in Path(path.anchor).glob(str(path.relative_to(path.anchor))))


def _list_folder(folder: Path) -> list[Path]:
    """Return a folder's data files as Spark lists them: with those in ``name=value`` folders, without hidden ones."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(("_", ".")):
            continue
        if path.is_dir() and "=" in path.name:
            found += _list_folder(path)
        elif path.is_file() and guess_catalog_format(path.name):
            found.append(path)
    return found


def _add_partition_columns(
    file: str, catalog: str, columns: list[str], records: list[ParsedRecord]
) -> tuple[list[str], list[ParsedRecord]]:
    """Return columns and records with the columns of the ``name=value`` folders between the catalogue and the file."""
    if "://" in file or not Path(catalog).is_dir():
        return columns, records
    folders = Path(file).parent.relative_to(catalog).parts
    values = dict(part.split("=", 1) for part in folders)
    return [*columns, *values], [ParsedRecord({**(p.record or {}), **values}, p.error) for p in records]


def _detect_format(name: str, kind: str, file: IO[bytes]) -> CatalogFormat:
    found = guess_catalog_format(name) if kind == "auto" else kind
    if found is None:
        raise ValueError(
            f'unknown format; known are {", ".join(FORMAT_SUFFIXES)}, or say format = "csv" in the mapping'
        )
    if found == "json" and kind == "auto":
        start = file.read(64)
        file.seek(0)
        return "json" if is_json_array(start) else "jsonl"
    return found  # type: ignore[return-value]


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


def _read_json_lines(file: IO[bytes], limit: int) -> _Read:
    return _take_head([], (parse_json_line(line) for line in file if not is_blank(line)), limit)


def _read_csv(file: IO[bytes], limit: int) -> _Read:
    records = CsvRecords(line.removesuffix(b"\n") for line in file)
    return _take_head(records.columns, iter(records), limit)


def _read_json_array(file: IO[bytes], limit: int) -> _Read:
    return _take_head([], iter(_Array(file)), limit)


def _take_head(columns: list[str], records: Iterator[ParsedRecord], limit: int) -> _Read:
    found = list(islice(records, limit + 1))
    return columns, found[:limit], len(found) <= limit


_READERS = {"parquet": _read_parquet, "jsonl": _read_json_lines, "json": _read_json_array, "csv": _read_csv}


class _Array:
    """The elements of a JSON array one by one, without reading further than needed."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""  # what was read and is not parsed yet

    def __iter__(self) -> Iterator[ParsedRecord]:
        """Yield the elements.

        Raises:
            ValueError: The text is no JSON array.
        """
        self._expect("[")
        if self._peek() == "]":
            return
        while True:
            yield make_record(self._read_item())
            if self._expect(",]") == "]":
                return

    def _read_more(self) -> bool:
        chunk = self._file.read(READ_CHUNK_BYTES)
        self._text += self._decoder.decode(chunk, final=not chunk)
        return bool(chunk)

    def _peek(self) -> str:
        """Return the next character that is no white space; an empty text at the end of the file."""
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
                # Either the item is broken or its end has not been read: only the end of the file or the limit tells.
                if len(self._text) > MAX_OBJECT_BYTES or not self._read_more():
                    raise ValueError(f"not a JSON array: {error}, in {self._text[:40]!r}") from error
            else:
                # A number at the very end of the text may continue in the next chunk.
                if end < len(self._text) or not self._read_more():
                    self._text = self._text[end:]
                    return item
