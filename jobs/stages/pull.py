"""Stage pull: writes the delivered catalogue of a date to the date's partition of `snapshots`.

The stage is idempotent: the tasks write the rows, and the driver commits them only if their digest differs from that of
the committed rows. Images get their URI and version here; photos by URL get theirs in the stage fetch. No image is read
unless the setting `image_version` is "sha256".
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from itertools import islice
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pyarrow as pa
from pyspark.errors import PythonException
from pyspark.sql import functions as F

from jobs.catalog.faults import READ_FAILURES, explain_read_failure
from jobs.catalog.formats import CatalogBlock, RecordReader
from jobs.catalog.mapping import map_parsed_record
from jobs.catalog.source import CatalogSource, list_allowed_roots, open_source, resolve_catalog_path
from jobs.errors import NightStoppedError
from jobs.images.reading import read_image_version
from jobs.lake.writing import AddedFile
from jobs.spark.worker_errors import is_worker_error
from jobs.state.plan_record import Plan
from jobs.state.run_context import RunContext, StageResult
from schemas.product import ImageRef
from schemas.source import MappedRow, SourceMapping
from schemas.tables import SNAPSHOTS
from schemas.uri import is_web

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

SNAPSHOT_BATCH_ROWS = 512
STAT_THREADS = 16
"""Images whose version one task asks for at the same time: a store answers in milliseconds, not in microseconds."""


class CatalogChangedError(RuntimeError):
    """The catalogue was changed between counting and reading its records."""


@dataclass(frozen=True)
class SnapshotTask:
    """Converts a task's share of the catalogue into rows of `snapshots`; picklable.

    Attributes:
        read: Converts the batches from Spark into raw records.
        counts: Number of records in every block, as counted by the driver.
        offsets: `source_row` of the first record of every block.
        mapping: The source mapping: roles of the columns.
        image_base: Canonical URI that relative image paths start from.
        roots: Canonical URIs of the folders that images may come from.
        day: The snapshot date.
        timezone: Time zone of the shop.
        by_content: Whether an image's version is the digest of its bytes.
    """

    read: RecordReader
    counts: Mapping[CatalogBlock, int]
    offsets: Mapping[CatalogBlock, int]
    mapping: SourceMapping
    image_base: str
    roots: tuple[str, ...]
    day: date
    timezone: str
    by_content: bool

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield batches of `schemas.tables.SNAPSHOTS`."""
        rows = self.read_rows(batches)
        with ThreadPoolExecutor(STAT_THREADS) as pool:
            while chunk := list(islice(rows, SNAPSHOT_BATCH_ROWS)):
                versioned = pool.map(self._add_image_versions, (row for _, row in chunk))
                numbers = [number for number, _ in chunk]
                yield _build_batch(numbers, versioned)

    def read_rows(self, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, MappedRow]]:
        """Yield (source_row, row) for every record of the day, and for every record without a date.

        Raises:
            CatalogChangedError: The number of records in a block has changed since it was counted.
        """
        seen: Counter[CatalogBlock] = Counter()
        for block, parsed in self.read(batches):
            number = self.offsets.get(block, 0) + seen[block]
            seen[block] += 1
            row = map_parsed_record(parsed, self.mapping, self.image_base, self.day, self.timezone)
            if row is not None:
                yield number, row
        changed = [block[0] for block, count in seen.items() if count != self.counts.get(block)]
        if changed:
            raise CatalogChangedError(changed[0])

    def _add_image_versions(self, row: MappedRow) -> MappedRow:
        return replace(row, images=[self._add_image_version(image) for image in row.images]) if row.images else row

    def _add_image_version(self, image: ImageRef) -> ImageRef:
        if is_web(image.uri) or (image.version and not self.by_content):
            return image  # the stage fetch sets the version of a photo by URL
        return ImageRef(image.uri, read_image_version(image.uri, self.roots, by_content=self.by_content))


def pull(context: RunContext, _plan: Plan | None = None) -> StageResult:
    """Commit the snapshot of the run's date to the lake.

    Returns:
        counts: delivered rows; details: whether the snapshot is new, changed or equal to the committed one.

    Raises:
        NightStoppedError: The catalogue or its mapping cannot be used, or has no rows of this date.
        CatalogFaultError: Reading it failed, but not because of its files.
    """
    source = open_source(context)
    files = _write(context, source)
    delivered = sum(file.rows for file in files)
    if not delivered:
        raise NightStoppedError(
            f"the catalogue {resolve_catalog_path(context)} has no rows of {context.date} in its snapshot column "
            f"{source.mapping.snapshot!r}; nothing was changed"
        )
    if source.delivery.has_subfolders:
        _check_ids_of_folders(context, source, files)
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
        timezone=context.settings.timezone,
        by_content=context.settings.image_version == "sha256",
    )
    try:
        return context.lake.write(source.rows, SNAPSHOTS.name, context.partition, transform=task)
    except PythonException as error:
        if not is_worker_error(error, CatalogChangedError):
            raise
        raise NightStoppedError(
            f"the catalogue {resolve_catalog_path(context)} changed while it was read: run again when its "
            "delivery is finished"
        ) from error
    except READ_FAILURES as error:
        raise explain_read_failure(resolve_catalog_path(context), source.delivery.files, error) from error


def _check_ids_of_folders(context: RunContext, source: CatalogSource, files: Sequence[AddedFile]) -> None:
    """Check that no product id is in two subfolders, which would be deliveries of several dates, not parts of one.

    Raises:
        NightStoppedError: an id occurs in two folders; nothing was committed.
    """
    starts = sorted((number, block[0]) for block, number in source.offsets().items())
    folders = [(start, PurePosixPath(unquote(file)).parent.as_posix()) for start, file in starts]
    folder, previous = F.lit(None), ""
    for start, name in folders:
        if name != previous:  # rows are numbered file by file
            folder, previous = F.when(F.col("source_row") >= start, name).otherwise(folder), name
    rows = (
        context.lake.read_written(context.spark, SNAPSHOTS.name, files)
        .where(F.col("product_id").isNotNull())
        .withColumn("folder", folder)
    )
    found = rows.groupBy("product_id").agg(F.array_sort(F.collect_set("folder")).alias("folders"))
    twice = found.where(F.size("folders") > 1).head()
    if twice is not None:
        context.lake.discard(SNAPSHOTS.name, files)
        raise NightStoppedError(
            f"the product {twice.product_id!r} is in {' and in '.join(twice.folders[:2])}: these look like deliveries "
            "of several dates side by side. Name one of them, with {date} in --catalog if its folder has the date; "
            "nothing was changed"
        )


def _commit(context: RunContext, files: Sequence[AddedFile]) -> str:
    """Commit the written files unless the lake has the same rows; return whether they are new, changed or the same."""
    lake = context.lake
    table = SNAPSHOTS.name
    version = lake.read_partition_version(table, context.partition)
    digest = compute_rows_digest(lake.read_written(context.spark, table, files))
    committed = lake.count(table, context.partition)
    same = bool(committed) and compute_rows_digest(lake.read(context.spark, table, context.partition)) == digest
    attempt = f"pull/{context.date}/{version}/{digest}"
    if same or not lake.commit(table, files, attempt=attempt, partition=context.partition, mode="overwrite"):
        lake.discard(table, files)
        return "unchanged"
    return "changed" if committed else "new"


def compute_rows_digest(rows: "DataFrame") -> str:
    """Return a digest of a snapshot's rows, 16 hex digits, which does not depend on the order of the rows."""
    # One JSON text per row: hashing column by column would not distinguish (null, "a") from ("a", null).
    row = F.xxhash64(F.to_json(F.struct(*SNAPSHOTS.columns.names))).cast("decimal(38,0)")
    total = rows.agg(F.count(F.lit(1)).alias("rows"), F.sum(row).alias("sum")).head()
    return hashlib.sha256(f"{total.rows} {total.sum}".encode()).hexdigest()[:16]  # type: ignore[union-attr]


def _build_batch(numbers: list[int], rows: Iterable[MappedRow]) -> pa.RecordBatch:
    records = [{**row.to_record(), "source_row": number} for number, row in zip(numbers, rows, strict=True)]
    return pa.RecordBatch.from_pylist(records, schema=SNAPSHOTS.columns)
