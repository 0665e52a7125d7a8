"""The Spark task of stage fetch that reads photos of folders and object stores into the image store.

It packs them and writes a row for every photo, like the task for photos by URL (`jobs.images.fetch_task`). Source:
docs/decisions/0050-store-of-all-photos.md.
"""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import pyarrow as pa

from jobs.images.answers import FAILED, FETCHED, FetchRequest, FetchResult
from jobs.images.fetch_task import PhotoAnswer, keep_photos
from jobs.images.reading import read_image, read_image_version
from jobs.images.store import PackWriter, PhotoHashes
from jobs.lake.storage import Storage
from jobs.lake.writing import TableSinks
from moon_model.images import MIN_PHOTO_SIDE, BadImageError, check_image_start, decode_image
from schemas.product import SHA256_PREFIX
from schemas.tables import IMAGES, STORED_IMAGES

READ_THREADS = 16
"""Photos that a task reads at a time; object stores answer late."""

BATCH_PHOTOS = 32
"""Photos that are packed and written together, which bounds the memory."""


@dataclass(frozen=True)
class ImportJob:
    """Parameters of an import task; picklable, so that Spark can send them to workers.

    Attributes:
        storage: the lake's root.
        roots: canonical URIs of the folders that images may come from.
        date: ISO snapshot date.
        seconds: time limit for taking new photos, in seconds.
        side: longer side to which photos are reduced; 0 keeps them as delivered.
    """

    storage: Storage
    roots: tuple[str, ...]
    date: str
    seconds: float
    side: int


def run_import_task(batches: Iterable[pa.RecordBatch], job: ImportJob) -> Iterator[pa.RecordBatch]:
    """Read one Spark partition (columns of `jobs.images.versions.select_unstored`); yield the written files."""
    sinks = TableSinks(job.storage, {IMAGES.name: {"date": job.date}, STORED_IMAGES.name: {}})
    packs = PackWriter(job.storage, job.side)
    rows = (row for batch in batches for row in batch.to_pylist())
    ends = time.monotonic() + job.seconds
    with ThreadPoolExecutor(READ_THREADS, thread_name_prefix="read") as threads:
        while time.monotonic() < ends and (chunk := list(islice(rows, BATCH_PHOTOS))):
            keep_photos(threads.map(partial(read_photo, roots=job.roots), chunk), sinks, packs)
    packs.close()
    for _ in rows:
        pass  # Spark's input must be read to its end; the driver sends these photos to new tasks
    yield sinks.close()


def read_photo(row: dict[str, Any], roots: tuple[str, ...]) -> PhotoAnswer:
    """Return the row with the version that was read, and the photo with its hashes or its failure; thread-safe.

    Args:
        row: row of `jobs.images.versions.select_unstored`.
        roots: canonical URIs of the folders that images may come from.
    """
    request = FetchRequest(row["uri"], is_known=row["image_sha256"] is not None)
    try:
        data = read_image(request.uri, roots)
        if request.is_known:  # a photo that is being written must not replace a good one
            decode_image(data, min_stored_side=MIN_PHOTO_SIDE)
        else:
            check_image_start(data[:16])
    except BadImageError as error:
        cause = str(error.reason).removeprefix("image_")
        return row, FetchResult(request, FAILED, reason=error.reason, cause=cause, detail=error.detail), None
    hashes = PhotoHashes.compute(data)
    version = _find_version(row, hashes.sha256, roots)
    return {**row, "given_version": version}, FetchResult(request, FETCHED, data), hashes


def _find_version(row: dict[str, Any], sha256: str, roots: tuple[str, ...]) -> str | None:
    """Return the version of the bytes that were read.

    It differs from the version of the snapshot if the photo was replaced after the catalogue was read. A version from
    the catalogue cannot be checked.
    """
    given: str | None = row["given_version"]
    kind = (given or "").partition(":")[0] + ":"
    if kind == SHA256_PREFIX:
        return SHA256_PREFIX + sha256
    return read_image_version(row["uri"], roots) if kind in ("stat:", "etag:") else given
