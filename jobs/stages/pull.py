"""Pull: a date's catalogue becomes the `snapshots` partition, as delivered, under our names.

Idempotent: the tasks write the rows, the driver compares their digest with what is committed, and only a difference is
committed. Images are named and versioned here; none is opened unless the setting `read_image_version` asks for content.
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

from jobs.catalog.formats import CatalogBlock, RecordReader
from jobs.catalog.source import CatalogSource, list_allowed_roots, open_source, resolve_catalog_path
from jobs.errors import NightStoppedError
from jobs.images.reading import read_image_version
from jobs.lake.reading import read_lake_files
from jobs.lake.writing import AddedFile
from jobs.state.plan_record import Plan
from jobs.state.run_context import RunContext, StageResult
from schemas.source import ImageRef, MappedRow, SourceMapping, is_of_snapshot, make_malformed_row, map_record
from schemas.source_values import as_text
from schemas.tables import SNAPSHOTS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

SNAPSHOT_BATCH_ROWS = 512
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
    counts: Mapping[CatalogBlock, int]
    offsets: Mapping[CatalogBlock, int]
    mapping: SourceMapping
    image_base: str
    roots: tuple[str, ...]
    day: date
    by_content: bool

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield batches of `schemas.tables.SNAPSHOTS`."""
        rows = self.rows(batches)
        with ThreadPoolExecutor(STAT_THREADS) as pool:
            while chunk := list(islice(rows, SNAPSHOT_BATCH_ROWS)):
                versioned = pool.map(self._add_image_versions, (row for _, row in chunk))
                numbers = [number for number, _ in chunk]
                yield _build_batch(numbers, versioned)

    def rows(self, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, MappedRow]]:
        """Yield (source_row, row) for every record of the day, and for every record that tells no day.

        Raises:
            CatalogChangedError: a block has other records than when they were counted.
        """
        seen: Counter[CatalogBlock] = Counter()
        for block, (record, error) in self.read(batches):
            number = self.offsets.get(block, 0) + seen[block]
            seen[block] += 1
            if record is None:
                yield number, make_malformed_row(error or "unreadable")
            elif self._lacks_date(record):
                yield number, make_malformed_row(f"the snapshot column {self.mapping.snapshot!r} is empty")
            elif is_of_snapshot(record, self.mapping, self.day):
                yield number, map_record(record, self.mapping, self.image_base)
        changed = [file for (file, start), count in seen.items() if count != self.counts.get((file, start))]
        if changed:
            raise CatalogChangedError(changed[0])

    def _lacks_date(self, record: Mapping[str, object]) -> bool:
        column = self.mapping.snapshot
        return column is not None and not (as_text(record.get(column)) or "").strip()

    def _add_image_versions(self, row: MappedRow) -> MappedRow:
        return replace(row, images=[self._add_image_version(image) for image in row.images]) if row.images else row

    def _add_image_version(self, image: ImageRef) -> ImageRef:
        if image.version and not self.by_content:
            return image
        return ImageRef(image.uri, read_image_version(image.uri, self.roots, by_content=self.by_content))


def pull(context: RunContext, _plan: Plan | None = None) -> StageResult:
    """Bring the snapshot of the night's date into the lake.

    Returns:
        counts: delivered rows; details: whether the snapshot was new, changed or the same as committed.

    Raises:
        NightStoppedError: the catalogue or its mapping cannot be used, or holds nothing of this date.
    """
    source = open_source(context)
    files = _write(context, source)
    delivered = sum(file.rows for file in files)
    if not delivered:
        raise NightStoppedError(
            f"the catalogue {resolve_catalog_path(context)} has no rows of {context.date} in its snapshot column "
            f"{source.mapping.snapshot!r}; nothing was changed"
        )
    return StageResult({"delivered": delivered}, {"snapshot": _commit(context, files)})


def _write(context: RunContext, source: CatalogSource) -> list[AddedFile]:
    task = SnapshotTask(
        read=source.read,
        counts=source.counts,
        offsets=source.offsets(),
        mapping=source.mapping,
        image_base=source.image_base,
        roots=list_allowed_roots(context),
        day=date.fromisoformat(context.date),
        by_content=context.settings.image_version == "sha256",
    )
    try:
        return context.lake.write(source.rows, SNAPSHOTS.name, context.partition, transform=task)
    except PythonException as error:
        if CatalogChangedError.__name__ not in str(error):
            raise
        raise NightStoppedError(
            f"the catalogue {resolve_catalog_path(context)} changed while it was read: run again when its "
            f"delivery is finished"
        ) from error


def _commit(context: RunContext, files: Sequence[AddedFile]) -> str:
    """Commit what was written unless the lake holds the same rows already."""
    lake, table = context.lake, SNAPSHOTS.name
    version = lake.read_partition_version(table, context.partition)
    digest = compute_rows_digest(_read_written(context, files))
    committed = lake.count(table, context.partition)
    same = bool(committed) and compute_rows_digest(lake.read(context.spark, table, context.partition)) == digest
    attempt = f"pull/{context.date}/{version}/{digest}"
    if same or not lake.commit(table, files, attempt=attempt, partition=context.partition, mode="overwrite"):
        lake.discard(table, files)
        return "unchanged"
    return "changed" if committed else "new"


def _read_written(context: RunContext, files: Sequence[AddedFile]) -> "DataFrame":
    storage, name = context.lake.storage, SNAPSHOTS.name
    uris = [storage.uri(name, file.path) for file in files]
    return read_lake_files(context.spark, storage, uris, SNAPSHOTS.columns, storage.uri(name))


def compute_rows_digest(rows: "DataFrame") -> str:
    """Return 16 hex digits that differ when any row of a snapshot does, whatever the order of the rows."""
    # One JSON text a row: hashing the columns side by side would take (null, "a") for ("a", null).
    row = F.xxhash64(F.to_json(F.struct(*SNAPSHOTS.columns.names))).cast("decimal(38,0)")
    total = rows.agg(F.count(F.lit(1)).alias("rows"), F.sum(row).alias("sum")).head()
    return hashlib.sha256(f"{total.rows} {total.sum}".encode()).hexdigest()[:16]  # type: ignore[union-attr]


def _build_batch(numbers: list[int], rows: Iterable[MappedRow]) -> pa.RecordBatch:
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
