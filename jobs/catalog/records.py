"""Parses raw records from the bytes of a catalogue file, without Spark.

`moon pull` and `moon check-source` use the same parsers. A record that cannot be read becomes an error message, and
later a refused row. It is never dropped, and the rest of the file is still read.
Reason for the own CSV parser: docs/decisions/0016-own-csv-reader.md.
"""

import csv
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

CatalogFormat = Literal["parquet", "jsonl", "json", "csv", "xml"]

FORMAT_SUFFIXES: dict[str, CatalogFormat] = {
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".xml": "xml",
    ".rss": "xml",
    ".atom": "xml",
}
"""Formats by a file's suffix; all but Parquet may be followed by one of `PACKED_SUFFIXES`."""

PACKED_SUFFIXES = (".gz", ".bz2", ".zst", ".zip")

MAX_CSV_RECORD_BYTES = 1 << 20
"""A quote that stays open for more bytes than this counts as a stray one; a field may be as long."""

CSV_DELIMITERS = (",", ";", "\t", "|")

csv.field_size_limit(MAX_CSV_RECORD_BYTES)

_BOM = "\ufeff"
HEAD_BYTES = 1 << 16
"""How much of a ``.json`` file's first line tells what it is."""

_OPEN_OBJECT = re.compile(r'\{(\s*"[^"]*"\s*:\s*[\[{]?)?')
_OPEN_WRAPPER = re.compile(r'\{\s*"[^"]*"\s*:\s*\[\s*\{')
_SEPARATOR_LINE = re.compile(rb'(?:\xef\xbb\xbf)?"?sep=(.)"?\r?', re.IGNORECASE)
_JSON_OPENING = re.compile(r"\ufeff?\s*\{")
_JSON_KEY = re.compile(r"""\s*("(?:[^"\\]|\\.)*")\s*:\s*""")
_JSON_NEXT = re.compile(r"\s*[,}]")


class ParsedRecord(NamedTuple):
    """One raw record: its fields by the source's names, or its error.

    Attributes:
        record: fields by name; None for a record that cannot be read.
        error: error message of a record that cannot be read.
        salvaged: fields before the damage, for a record with an error.
    """

    record: dict[str, Any] | None
    error: str | None
    salvaged: dict[str, Any] = {}  # noqa: RUF012  # a NamedTuple's default is never written to


def guess_catalog_format(name: str) -> CatalogFormat | None:
    """Return the format of a file by its suffix; a ``json`` file may be JSON Lines (`is_json_document`)."""
    lowered = name.lower()
    if suffix := next((suffix for suffix in PACKED_SUFFIXES if lowered.endswith(suffix)), None):
        lowered = lowered.removesuffix(suffix)
    return next((kind for suffix, kind in FORMAT_SUFFIXES.items() if lowered.endswith(suffix)), None)


def is_json_document(head: bytes, id_column: str | None = None) -> bool:
    """Return whether a ``.json`` file is one document (an array, or an object that wraps one), not JSON Lines.

    Args:
        head: the first line, up to `HEAD_BYTES` of it.
        id_column: column of the product id: an object that has it is a product, not a wrapper.
    """
    text = head.decode(errors="replace").removeprefix(_BOM).strip()
    if text.startswith("[") or _OPEN_OBJECT.fullmatch(text):
        return True
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        is_cut = len(head) >= HEAD_BYTES and bool(_OPEN_WRAPPER.match(text))
        goes_on = text.startswith("{") and text.endswith((",", "[", "{", ":"))  # an object of several lines
        return (is_cut or goes_on) and id_column not in salvage_json_fields(text)
    return isinstance(value, dict) and id_column not in value and len(_find_wrapped(value)) == 1


def _find_wrapped(value: dict[str, Any]) -> list[list[Any]]:
    """Return the values of an object that are arrays of objects: products, if it wraps them."""
    lists = (item for item in value.values() if isinstance(item, list) and item)
    return [items for items in lists if all(isinstance(item, dict) for item in items)]


def is_blank(line: bytes) -> bool:
    """Return whether a line has only white space or a byte order mark and is therefore not a record."""
    return not line.removeprefix(_BOM.encode()).strip()


def parse_json_line(line: bytes) -> ParsedRecord:
    """Return the record of one line of a JSON Lines file."""
    try:
        return make_record(json.loads(_decode(line)))
    except (ValueError, RecursionError) as error:
        return ParsedRecord(None, f"not a JSON object: {error}", salvage_json_fields(line.decode(errors="replace")))


def salvage_json_fields(text: str) -> dict[str, Any]:
    """Return the fields of a broken JSON object that are complete: those before the damage."""
    decoder = json.JSONDecoder()
    fields: dict[str, Any] = {}
    opening = _JSON_OPENING.match(text)
    position = opening.end() if opening else len(text)
    try:
        while match := _JSON_KEY.match(text, position):
            value, end = decoder.raw_decode(text, match.end())
            # A number that the damage cut off has no comma or brace after it.
            closing = _JSON_NEXT.match(text, end)
            if closing is None:
                break
            fields[json.loads(match[1])] = value
            position = closing.end()
    except (ValueError, RecursionError):
        pass  # the damage: what was read before it counts
    return fields


def parse_json_array(document: bytes) -> list[ParsedRecord]:
    """Return the records of a JSON file that is an array of objects, or wraps one.

    An element that is not an object becomes an error.

    Raises:
        ValueError: The document as a whole is broken; the message says where.
    """
    try:
        items = json.loads(_decode(document))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if isinstance(items, dict) and len(wrapped := _find_wrapped(items)) == 1:
        items = wrapped[0]
    if not isinstance(items, list):
        raise ValueError(
            f"holds {_name_kind(items)}, not an array of products: an array, an object that wraps one array, or one "
            "object a line is expected"
        )
    return [make_record(item) for item in items]


class _RecordError(ValueError):
    """An error of one record; errors of the line source are of other classes and end the file."""


class CsvRecords:
    """Iterates over the records of one CSV file.

    Quotes are doubled inside quotes, line ends are LF or CRLF, and the text is UTF-8 with or without a BOM. The
    delimiter is the one in Excel's first line ``sep=;``, else the one of comma, semicolon, tab and bar that splits the
    heading into most columns. A record that cannot be read (a stray quote, a wrong number of fields, bytes that are not
    UTF-8) yields an error and consumes only its first line. Further lines inside an open quote are read again.

    Args:
        lines: The file's lines without their line feeds.
        delimiter: Delimiter of the fields; None: detect it from the heading.

    Attributes:
        columns: The headings of the file, in order; empty if the file is empty.
        delimiter: Delimiter of the fields.

    Raises:
        ValueError: The heading cannot be read.
    """

    def __init__(self, lines: Iterable[bytes], delimiter: str | None = None) -> None:
        self._lines = iter(lines)
        self._returned: deque[bytes] = deque()  # lines to read again, before the rest of `_lines`
        self._record_lines: list[bytes] = []  # lines of the record that was read last
        self.delimiter = ","
        self.columns = self._read_heading(delimiter)

    def __iter__(self) -> Iterator[ParsedRecord]:
        while (parsed := self._read_record()) is not None:
            yield parsed

    def _read_heading(self, delimiter: str | None) -> list[str]:
        """Choose the delimiter and return the column names."""
        first = next(self._lines, None)
        if first is not None and (named := _SEPARATOR_LINE.fullmatch(first)):
            delimiter = delimiter or named[1].decode()
        elif first is not None:
            self._returned.append(first)
        candidates: dict[str, list[str]] = {}
        problem: Exception | None = None
        # Read the heading once with each delimiter and return its lines each time.
        for self.delimiter in (delimiter,) if delimiter else CSV_DELIMITERS:
            try:
                candidates[self.delimiter] = self._read_fields() or []
            except (_RecordError, csv.Error) as error:
                problem = problem or error
            self._returned.extendleft(reversed(self._record_lines))
        if not candidates:
            raise ValueError(f"the first line (the column names) cannot be read: {problem}")
        # Then read it with the delimiter that gave most columns.
        self.delimiter = max(candidates, key=lambda delimiter: len(candidates[delimiter]))
        return self._read_fields() or []

    def _read_record(self) -> ParsedRecord | None:
        try:
            fields = self._read_fields()
        except (_RecordError, csv.Error) as error:
            # The first line is lost; the lines after it may be good records inside a stray quote.
            self._returned.extendleft(reversed(self._record_lines[1:]))
            return ParsedRecord(None, f"not a CSV record: {error}", self._salvage_first_field())
        if fields is None:
            return None
        if len(fields) != len(self.columns):
            problem = f"has {len(fields)} fields where the heading has {len(self.columns)}"
            return ParsedRecord(None, problem, self._salvage_first_field())
        record: dict[str, Any] = {}
        for column, value in zip(self.columns, fields, strict=True):
            record.setdefault(column, value)  # first of repeated headings; mapping one is an error
        return ParsedRecord(record, None)

    def _salvage_first_field(self) -> dict[str, Any]:
        """Return the first field of a broken record, which no stray quote or delimiter can precede."""
        line = self._record_lines[0].decode(errors="replace").removeprefix(_BOM)
        mark = re.escape(self.delimiter)
        found = re.match(rf'(?:"((?:[^"]|"")*)"|([^"{mark}]*)){mark}', line)
        if found is None:
            return {}
        return {self.columns[0]: found[2] if found[1] is None else found[1].replace('""', '"')}

    def _read_fields(self) -> list[str] | None:
        """Return the next record's fields; None at the end of the file. Blank lines are skipped."""
        while True:
            self._record_lines = []
            # A new reader for each record: it reads the record's lines and keeps no state.
            fields = next(csv.reader(self._take_lines(), delimiter=self.delimiter, strict=True), None)
            # A blank line has no fields; at the end of the file no line was read.
            if not self._record_lines or not is_blank(self._record_lines[0]):
                return fields

    def _take_lines(self) -> Iterator[str]:
        """Yield lines for one record and keep them in `_record_lines`."""
        size = 0
        while (line := self._returned.popleft() if self._returned else next(self._lines, None)) is not None:
            self._record_lines.append(line)
            size += len(line) + 1
            if size > MAX_CSV_RECORD_BYTES and len(self._record_lines) > 1:
                raise _RecordError(f"a quote stays open for more than {MAX_CSV_RECORD_BYTES:,} bytes")
            yield _decode(line).removesuffix("\r") + "\n"


def _decode(data: bytes) -> str:
    """Return UTF-8 bytes as text without a byte order mark; files joined end to end have one at the start of a line."""
    try:
        return data.decode().removeprefix(_BOM)
    except UnicodeDecodeError as error:
        raise _RecordError(f"not UTF-8 at byte {error.start}: {data[error.start : error.end]!r}") from error


def make_record(item: Any) -> ParsedRecord:
    """Return a decoded JSON value as a record; a value that is not an object becomes an error."""
    if isinstance(item, dict):
        return ParsedRecord(item, None)
    return ParsedRecord(None, f"holds {_name_kind(item)} where a JSON object is expected")


def _name_kind(item: Any) -> str:
    names = {str: "a string", list: "an array", dict: "an object", bool: "true or false", type(None): "null"}
    return names.get(type(item), "a number")
