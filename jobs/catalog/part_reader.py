"""Reads the records of every part of a delivery without Spark, up to a total number of rows.

The records come from the readers of the stage pull (`jobs.catalog.formats`), so the counts equal those of a run. Every
part is opened. The problem of a broken part is recorded, and the others are still read.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import IO

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.catalog.archives import iter_chunks, make_empty_error, open_members
from jobs.catalog.formats import CatalogBlock, RawRecord, get_record_reader, place_parquet_batches, unpack_file
from jobs.catalog.head import READ_ERRORS, CatalogHead, iter_json
from jobs.catalog.parquet_parts import ParquetFooter, check_footers, find_mixed_types
from jobs.catalog.parts import UnreadableFileError
from jobs.catalog.records import PACKED_SUFFIXES, ParsedRecord
from jobs.catalog.survey import Survey, is_complete, unite_columns
from schemas.source_mapping import SourceMapping

MAX_READ_ROWS = 100_000
"""Default of the rows that are read, of all parts together."""

MAX_OPEN_PARTS = 100
"""Parts whose reading is interrupted and may go on: each is an open file."""

SAME_COLUMNS = ("csv", "parquet")
"""Formats in which all records of a file have the same columns."""

PROGRESS_ROWS = 500
PARQUET_BATCH_ROWS = 1024

_STRIDE = 1 << 40
"""More rows than a part has: part and row make one number, in reading order before all parts are read."""

ReadingProgress = Callable[[int, int], None]
"""Callback with the number of rows read, and the number of parts in which reading has started."""


@dataclass
class CatalogPart:
    """A file of a delivery, and how far it was read.

    Attributes:
        file: Path or URI.
        rows: Number of records read.
        is_whole: Whether all records were read.
        problem: Reason why a run would stop at the file; None if there is no problem.
        columns: Names of its records' columns, by block (the members of an archive are blocks).
    """

    file: str
    rows: int = 0
    is_whole: bool = False
    problem: str | None = None
    columns: dict[CatalogBlock, dict[str, None]] = field(default_factory=dict)

    def list_columns(self) -> list[str]:
        """Return the column names of its records."""
        return list(dict.fromkeys(name for names in self.columns.values() for name in names))


class PartReader:
    """Reads all parts of a delivery; iterating yields (number, record).

    The numbers define the order in which a run reads the rows, but are not yielded in this order. `renumber` converts
    them to `source_row` after all parts are read.

    Args:
        head: First records of the delivery, with its files.
        mapping: Source mapping: roles of the columns.
        max_rows: Number of rows to read from all parts together, in equal shares. Parts with fewer rows leave the rest
            of their share to the others. At least one row of each part is read.
        show_progress: Callback that is called from time to time.

    Attributes:
        parts: The files, in the reading order of a run.
    """

    def __init__(
        self,
        head: CatalogHead,
        mapping: SourceMapping,
        max_rows: int = MAX_READ_ROWS,
        show_progress: ReadingProgress | None = None,
    ) -> None:
        self.parts = [CatalogPart(file) for file in head.files]
        self._head = head
        self._mapping = mapping
        self._max_rows = max_rows
        self._show_progress = show_progress or (lambda _rows, _parts: None)

    @property
    def rows(self) -> int:
        """Number of records read from all parts."""
        return sum(part.rows for part in self.parts)

    @property
    def is_whole(self) -> bool:
        """Whether all records of all parts were read."""
        return all(part.is_whole for part in self.parts)

    def __iter__(self) -> Iterator[tuple[int, ParsedRecord]]:
        """Yield every record with its number, in order within each part."""
        if self._head.format == "parquet":
            self._read_footers()
        left = self._max_rows
        waiting = [(index, self._iter_part(index)) for index in range(len(self.parts))]
        is_first = True
        while waiting and (left > 0 or is_first):
            unfinished = []
            for place, (index, records) in enumerate(waiting):
                share = max(-(-left // (len(waiting) - place)), 1 if is_first else 0)
                before = self.parts[index].rows
                yield from islice(records, share)
                taken = self.parts[index].rows - before
                left -= taken
                if taken == share and not self.parts[index].is_whole:
                    unfinished.append((index, records))
                    if len(unfinished) > MAX_OPEN_PARTS:
                        self._finish(*unfinished.pop())
            waiting, is_first = unfinished, False
        for index, records in waiting:
            self._finish(index, records)
        self._show_progress(self.rows, len(self.parts))

    def get_part(self, number: int) -> int:
        """Return the index of the part that a number belongs to."""
        return number // _STRIDE

    def renumber(self, number: int) -> int:
        """Return the `source_row` of a number: its position among all rows read, from 0, in a run's order."""
        index, row = divmod(number, _STRIDE)
        return sum(part.rows for part in self.parts[:index]) + row

    def locate(self, source_row: int) -> tuple[CatalogPart, int]:
        """Return the part of a row and its position in it, from 0."""
        for part in self.parts:
            if source_row < part.rows:
                return part, source_row
            source_row -= part.rows
        raise IndexError(source_row)

    def survey(self) -> Survey:
        """Return the columns of the records read, in the form that a run checks."""
        counts: dict[CatalogBlock, int] = {}
        columns = [list(names) for part in self.parts for names in part.columns.values()]
        kind = self._head.format
        return Survey(counts, unite_columns(kind, columns), is_complete=is_complete(kind), is_whole=self.is_whole)

    def _finish(self, index: int, records: Generator[tuple[int, ParsedRecord]]) -> None:
        """Close an interrupted part, after checking whether it has further records."""
        part = self.parts[index]
        rows = part.rows
        if next(records, None) is not None:
            part.rows = rows  # the record was read only for this check
        records.close()

    def _iter_part(self, index: int) -> Generator[tuple[int, ParsedRecord]]:
        """Yield the records of a part with their numbers; an error of the file is recorded as its problem."""
        part = self.parts[index]
        self._show_progress(self.rows, index + 1)
        try:
            with fsspec.open(part.file, "rb") as file, closing(self._iter_records(index, file)) as records:
                for block, parsed in records:
                    if not part.columns.get(block) or self._head.format not in SAME_COLUMNS:
                        part.columns.setdefault(block, {}).update(dict.fromkeys(parsed.record or ()))
                    part.rows += 1
                    if part.rows % PROGRESS_ROWS == 0:
                        self._show_progress(self.rows, index + 1)
                    yield index * _STRIDE + part.rows - 1, parsed
            part.is_whole = True
        except READ_ERRORS as error:
            text = " ".join(str(error).split()) or type(error).__name__
            part.problem = part.problem or (text if part.file in text else f"{part.file}: {text}")

    def _iter_records(self, index: int, file: IO[bytes]) -> Generator[RawRecord]:
        """Yield the records of one file with the reader of its format.

        Raises:
            UnreadableFileError: The file is broken as a whole, or unpacks to nothing.
        """
        name, kind, mapping = self.parts[index].file, self._head.format, self._mapping
        if kind == "json":  # as a stream; a task of a run parses it in one piece
            for _, stream in open_members(name, file):
                try:
                    yield from (RawRecord((name, 0), one) for one in iter_json(iter_chunks(stream, mapping.encoding)))
                except UnreadableFileError:
                    raise
                except ValueError as error:
                    raise UnreadableFileError(f"{name} {error}") from error
            return
        if kind == "parquet":
            batches = _iter_table(file, mapping.list_columns(), self._head.partitions[index])
            batches = place_parquet_batches(name, batches, mapping.list_columns())
        else:
            batches = unpack_file(name, file, kind, mapping.encoding if kind != "xml" else None)
        first = next(batches, None)
        if first is not None:
            yield from get_record_reader(kind, mapping)(chain([first], batches))
        elif name.lower().endswith(PACKED_SUFFIXES):
            raise make_empty_error(name)

    def _read_footers(self) -> None:
        """Read the columns of Parquet files from their footers; an error that stops a run becomes a file's problem."""
        footers: dict[str, ParquetFooter] = {}
        for part, partitions in zip(self.parts, self._head.partitions, strict=True):
            try:
                with fsspec.open(part.file, "rb") as file:
                    schema = pq.ParquetFile(file).schema_arrow
            except READ_ERRORS as error:
                part.problem = f"{part.file} is no readable Parquet file: {' '.join(str(error).split())}"
                continue
            types = {one.name: describe_type(one.type) for one in schema}
            footers[part.file] = ParquetFooter(schema.names, types, {})
            part.columns[part.file, 0] = dict.fromkeys([*schema.names, *partitions])
        in_files = {name for footer in footers.values() for name in footer.names}
        in_folders = {name for partitions in self._head.partitions for name in partitions}
        needed = [name for name in self._mapping.list_columns() if name in in_files and name not in in_folders]
        for part in self.parts:
            if part.file in footers:
                try:
                    check_footers({part.file: footers[part.file]}, needed)
                except UnreadableFileError as error:
                    part.problem = str(error)
        if all(part.problem is None for part in self.parts):
            try:
                find_mixed_types(footers, needed)
            except UnreadableFileError as error:
                self.parts[0].problem = str(error)


def describe_type(kind: pa.DataType) -> str:
    """Return Spark's name of an Arrow type, as far as files must agree in it: lists, maps and structs."""
    if pa.types.is_map(kind):
        return f"MAP<{describe_type(kind.key_type)}, {describe_type(kind.item_type)}>"
    if pa.types.is_struct(kind):
        return f"STRUCT<{', '.join(f'{one.name}: {describe_type(one.type)}' for one in kind)}>"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return f"ARRAY<{describe_type(kind.value_type)}>"
    return str(kind).removeprefix("large_")


def _iter_table(
    file: IO[bytes], mapped: Sequence[str], partitions: Mapping[str, str | None]
) -> Iterator[pa.RecordBatch]:
    """Yield the mapped columns of a Parquet file, including those from its folder names."""
    table = pq.ParquetFile(file)
    names = [name for name in table.schema_arrow.names if name in mapped and name not in partitions]
    for batch in table.iter_batches(PARQUET_BATCH_ROWS, columns=names):
        columns = [_round_moments(column) for column in batch.columns]
        folders = {name: value for name, value in partitions.items() if name in mapped}
        columns += [pa.array([value] * batch.num_rows, pa.string()) for value in folders.values()]
        yield pa.RecordBatch.from_arrays(columns, [*batch.schema.names, *folders])


def _round_moments(column: pa.Array) -> pa.Array:
    """Return a column with timestamps in microseconds, as Spark reads them."""
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        return column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return column
