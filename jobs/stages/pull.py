"""Pull: a date's catalogue becomes the `snapshots` partition, as delivered, under our names.

Idempotent: the tasks write the rows, the driver compares their digest with what is committed, and only a difference is
committed. Images are named and versioned here; none is opened unless the setting `image_version` asks for content.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from itertools import islice
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.errors import PythonException
from pyspark.sql import functions as F

from jobs.catalog.formats import Block, RecordReader
from jobs.catalog.source import Source, allowed_roots, catalog_path, open_source
from jobs.errors import NightStoppedError
from jobs.images.reading import image_version
from jobs.lake.reading import read_parquet
from jobs.lake.writing import AddedFile
from jobs.state.run_context import Night, StageResult
from schemas.source import ImageRef, MappedRow, SourceMapping, is_of_snapshot, make_malformed_row, map_record
from schemas.source_values import as_text
from schemas.tables import SNAPSHOTS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

ROWS_PER_BATCH = 512
STAT_THREADS = 16
"""Images asked for their version at once by one task: a store answers in milliseconds, not in microseconds."""


class CatalogChangedError(RuntimeError):
    """The catalogue was written to between the counting and the reading of its records."""


@dataclass(frozen=True)
class SnapshotTask:
    """What a task needs to turn its share of the catalogue into rows of `snapshots`; picklable.

    Attributes:
        read: turns the batches that Spark gives into raw records.
        counts: records of every block, as the driver counted them.
        offsets: `source_row` of the first record of every block.
        mapping, image_base: which column is what, and where relative image paths start.
        roots: where images may come from.
        day: the snapshot date.
        by_content: whether an image's version is the digest of its bytes.
    """

    read: RecordReader
    counts: Mapping[Block, int]
    offsets: Mapping[Block, int]
    mapping: SourceMapping
    image_base: str
    roots: tuple[str, ...]
    day: date
    by_content: bool

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield batches of `schemas.tables.SNAPSHOTS`."""
        rows = self.rows(batches)
        with ThreadPoolExecutor(STAT_THREADS) as pool:
            while chunk := list(islice(rows, ROWS_PER_BATCH)):
                versioned = pool.map(self._versioned, (row for _, row in chunk))
                numbers = [number for number, _ in chunk]
                yield _batch(numbers, versioned)

    def rows(self, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, MappedRow]]:
        """Yield (source_row, row) for every record of the day, and for every record that tells no day.

        Raises:
            CatalogChangedError: a block has other records than when they were counted.
        """
        seen: Counter[Block] = Counter()
        for block, (record, error) in self.read(batches):
            number = self.offsets.get(block, 0) + seen[block]
            seen[block] += 1
            if record is None:
                yield number, make_malformed_row(error or "unreadable")
            elif self._tells_no_day(record):
                yield number, make_malformed_row(f"the snapshot column {self.mapping.snapshot!r} is empty")
            elif is_of_snapshot(record, self.mapping, self.day):
                yield number, map_record(record, self.mapping, self.image_base)
        changed = [file for (file, start), count in seen.items() if count != self.counts.get((file, start))]
        if changed:
            raise CatalogChangedError(changed[0])

    def _tells_no_day(self, record: Mapping[str, object]) -> bool:
        column = self.mapping.snapshot
        return column is not None and not (as_text(record.get(column)) or "").strip()

    def _versioned(self, row: MappedRow) -> MappedRow:
        return replace(row, images=[self._image(image) for image in row.images]) if row.images else row

    def _image(self, image: ImageRef) -> ImageRef:
        if image.version and not self.by_content:
            return image
        return ImageRef(image.uri, image_version(image.uri, self.roots, by_content=self.by_content))


def pull(night: Night) -> StageResult:
    """Bring the snapshot of the night's date into the lake.

    Returns:
        counts: delivered rows; details: whether the snapshot was new, changed or the same as committed.

    Raises:
        NightStoppedError: the catalogue or its mapping cannot be used, or holds nothing of this date.
    """
    source = open_source(night)
    files = _write(night, source)
    delivered = sum(file.rows for file in files)
    if not delivered:
        raise NightStoppedError(
            f"the catalogue {catalog_path(night)} has no rows of {night.date} in its snapshot column "
            f"{source.mapping.snapshot!r}; nothing was changed"
        )
    return StageResult({"delivered": delivered}, {"snapshot": _commit(night, files)})


def _write(night: Night, source: Source) -> list[AddedFile]:
    task = SnapshotTask(
        read=source.read,
        counts=source.counts,
        offsets=source.offsets(),
        mapping=source.mapping,
        image_base=source.image_base,
        roots=allowed_roots(night),
        day=date.fromisoformat(night.date),
        by_content=night.settings.image_version == "sha256",
    )
    try:
        return night.lake.write(source.rows, SNAPSHOTS.name, night.partition, transform=task)
    except PythonException as error:
        if CatalogChangedError.__name__ not in str(error):
            raise
        raise NightStoppedError(
            f"the catalogue {catalog_path(night)} changed while it was read: run again when its delivery is finished"
        ) from error


def _commit(night: Night, files: Sequence[AddedFile]) -> str:
    """Commit what was written unless the lake holds the same rows already."""
    lake, table = night.lake, SNAPSHOTS.name
    version = lake.transaction_version(table, f"scope:date={night.date}")
    digest = rows_digest(_written(night, files))
    committed = lake.count(table, night.partition)
    same = bool(committed) and rows_digest(lake.read(night.spark, table, night.partition)) == digest
    attempt = f"pull/{night.date}/{version}/{digest}"
    if same or not lake.commit(table, files, attempt=attempt, partition=night.partition, mode="overwrite"):
        lake.discard(table, files)
        return "unchanged"
    return "changed" if committed else "new"


def _written(night: Night, files: Sequence[AddedFile]) -> "DataFrame":
    storage, name = night.lake.storage, SNAPSHOTS.name
    uris = [storage.uri(name, file.path) for file in files]
    return read_parquet(night.spark, storage, uris, SNAPSHOTS.columns, storage.uri(name))


def rows_digest(rows: "DataFrame") -> str:
    """Return 16 hex digits that differ when any row of a snapshot does, whatever the order of the rows."""
    # One JSON text a row: hashing the columns side by side would take (null, "a") for ("a", null).
    row = F.xxhash64(F.to_json(F.struct(*SNAPSHOTS.columns.names))).cast("decimal(38,0)")
    total = rows.agg(F.count(F.lit(1)).alias("rows"), F.sum(row).alias("sum")).head()
    return hashlib.sha256(f"{total.rows} {total.sum}".encode()).hexdigest()[:16]  # type: ignore[union-attr]


def _batch(numbers: list[int], rows: Iterable[MappedRow]) -> pa.RecordBatch:
    records = [
        {
            **vars(row),
            "source_row": number,
            "attributes": None if row.attributes is None else list(row.attributes.items()),
            "images": [vars(image) for image in row.images],
        }
        for number, row in zip(numbers, rows, strict=True)
    ]
    return pa.RecordBatch.from_pylist(records, schema=SNAPSHOTS.columns)
