"""From the bytes of a catalogue file to raw records, in plain Python: `moon pull` and `moon check-source` agree by it.

A broken record never disappears and never stops the file: it is an error in words, which becomes a refused row. CSV is
parsed here and not by Spark's reader: with CRLF line ends and a line feed inside a quoted heading that one makes
phantom rows and leaves a carriage return on every last value (seen with Spark 4.3).
"""

import csv
import json
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

CatalogFormat = Literal["parquet", "jsonl", "json", "csv"]

FORMAT_SUFFIXES: dict[str, CatalogFormat] = {
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
}
"""Formats by a file's suffix; all but Parquet may have ``.gz`` behind it."""

MAX_CSV_RECORD_LINES = 1_000
"""A quote that stays open for more lines than this is taken for a stray one."""

CSV_DELIMITERS = (",", ";", "\t")

_BOM = "\ufeff"


class ParsedRecord(NamedTuple):
    """One raw record: its fields by the source's own names, or what is wrong with it."""

    record: dict[str, Any] | None
    error: str | None


def guess_catalog_format(name: str) -> CatalogFormat | None:
    """Return the format that a file's name promises; ``json`` may turn out to be JSON Lines (`is_json_array`)."""
    lowered = name.lower().removesuffix(".gz")
    return next((kind for suffix, kind in FORMAT_SUFFIXES.items() if lowered.endswith(suffix)), None)


def is_json_array(head: bytes) -> bool:
    """Return whether the first bytes of a ``.json`` file open an array."""
    return head.removeprefix(_BOM.encode()).lstrip()[:1] == b"["


def is_blank(line: bytes) -> bool:
    """Return whether a line holds nothing but white space or a byte order mark: it is no record."""
    return not line.removeprefix(_BOM.encode()).strip()


def parse_json_line(line: bytes) -> ParsedRecord:
    """Read one line of a JSON Lines file."""
    try:
        return _object(json.loads(_text(line)))
    except (ValueError, RecursionError) as error:
        return ParsedRecord(None, f"not a JSON object: {error}")


def parse_json_array(document: bytes) -> list[ParsedRecord]:
    """Read a whole JSON file that is an array of objects.

    Raises:
        ValueError: the document as a whole is broken; the message says where.
    """
    try:
        items = json.loads(_text(document))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(items, list):
        raise ValueError(f"holds {_kind(items)}, not an array of products")
    return [_object(item) for item in items]


class CsvRecords:
    """The records of one CSV file: quotes doubled inside quotes, line ends LF or CRLF, UTF-8 with or without a BOM.

    The delimiter is the one of comma, semicolon and tab that cuts the heading into most columns. A record that cannot
    be read (a stray quote, a wrong number of fields, bytes that are not UTF-8) yields an error and costs its own first
    line only: what an unclosed quote swallowed is read again as lines of their own.

    Args:
        lines: the file's lines without their line feeds.

    Attributes:
        columns: the headings exactly as they stand, in order; empty when the file is.
        delimiter: what separates the fields.

    Raises:
        ValueError: the heading itself cannot be read.
    """

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self._again: deque[bytes] = deque()
        self._taken: list[bytes] = []
        self.delimiter = ","
        self.columns = self._headings()

    def __iter__(self) -> Iterator[ParsedRecord]:
        while (parsed := self._next()) is not None:
            yield parsed

    def _headings(self) -> list[str]:
        candidates: dict[str, list[str]] = {}
        problem: Exception | None = None
        for self.delimiter in CSV_DELIMITERS:
            try:
                candidates[self.delimiter] = self._record() or []
            except (ValueError, csv.Error) as error:
                problem = problem or error
            self._again.extendleft(reversed(self._taken))
        if not candidates:
            raise ValueError(f"the first line (the column names) cannot be read: {problem}")
        self.delimiter = max(candidates, key=lambda delimiter: len(candidates[delimiter]))
        return self._record() or []

    def _next(self) -> ParsedRecord | None:
        try:
            fields = self._record()
        except (ValueError, csv.Error) as error:
            self._again.extendleft(reversed(self._taken[1:]))
            return ParsedRecord(None, f"not a CSV record: {error}")
        if fields is None:
            return None
        if len(fields) != len(self.columns):
            return ParsedRecord(None, f"has {len(fields)} fields where the heading has {len(self.columns)}")
        record: dict[str, Any] = {}
        for column, value in zip(self.columns, fields, strict=True):
            record.setdefault(column, value)  # a heading that occurs twice: whoever maps it refuses the file
        return ParsedRecord(record, None)

    def _record(self) -> list[str] | None:
        """Return the next record's fields; None at the end of the file. Blank lines are skipped."""
        while True:
            self._taken = []
            fields = next(csv.reader(self._feed(), delimiter=self.delimiter, strict=True), None)
            if not self._taken or not is_blank(self._taken[0]):
                return fields

    def _feed(self) -> Iterator[str]:
        """Yield lines for one record, remembering them."""
        while (line := self._line()) is not None:
            self._taken.append(line)
            if len(self._taken) > MAX_CSV_RECORD_LINES:
                raise ValueError(f"a quote stays open for more than {MAX_CSV_RECORD_LINES} lines")
            yield _text(line).removesuffix("\r") + "\n"

    def _line(self) -> bytes | None:
        return self._again.popleft() if self._again else next(self._lines, None)


def _text(data: bytes) -> str:
    """Decode UTF-8 without byte order mark (files joined end to end have some inside)."""
    try:
        return data.decode().removeprefix(_BOM)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}: {data[error.start : error.end]!r}") from error


def _object(item: Any) -> ParsedRecord:
    if isinstance(item, dict):
        return ParsedRecord(item, None)
    return ParsedRecord(None, f"holds {_kind(item)} where a JSON object is expected")


def _kind(item: Any) -> str:
    names = {str: "a string", list: "an array", dict: "an object", bool: "true or false", type(None): "null"}
    return names.get(type(item), "a number")
