"""The Spark task of stage fetch: requests photos from its hosts, packs new ones, writes a row for every answer.

A task stops taking addresses after a time limit, so that the driver can commit the results, show progress and send the
remaining addresses to new tasks.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from jobs.images.answers import FAILED, FETCHED, FetchRequest, FetchResult
from jobs.images.fetcher import Fetcher, FetchPolicy
from jobs.images.store import PackWriter, PhotoHashes
from jobs.lake.storage import Storage
from jobs.lake.writing import TableSinks
from schemas.tables import IMAGES, STORED_IMAGES
from schemas.uri import is_web
from validation.reasons import Reason

ANSWERED = "answered"
"""Name under which a task counts the photos for which hosts had an answer.

Failures do not count: a host that is given up is not asked for the rest of its photos."""

BATCH_PHOTOS = 128
"""Answers that are packed and written together while others are on their way."""

BATCH_BYTES = 16 << 20

GONE_NIGHTS = 3
"""Number of dates on which a host must report that a photo does not exist before it counts as gone."""

PhotoAnswer = tuple[dict[str, Any], FetchResult, PhotoHashes | None]
"""A row of `jobs.images.versions.select_due`, its result, and the hashes of a photo that was read."""


@dataclass(frozen=True)
class FetchJob:
    """Parameters of a fetch task; picklable, so that Spark can send them to workers.

    Attributes:
        storage: the lake's root.
        policy: rules for requests to hosts.
        date: ISO snapshot date.
        seconds: time limit for taking new addresses, in seconds.
        side: longer side to which photos are reduced; 0 keeps them as delivered.
    """

    storage: Storage
    policy: FetchPolicy
    date: str
    seconds: float
    side: int


def run_fetch_task(batches: Iterable[pa.RecordBatch], job: FetchJob) -> Iterator[pa.RecordBatch]:
    """Fetch one Spark partition (columns of `jobs.images.versions.select_due`); yield the written files."""
    sinks = TableSinks(job.storage, {IMAGES.name: {"date": job.date}, STORED_IMAGES.name: {}})
    packs = PackWriter(job.storage, job.side)
    rows = (row for batch in batches for row in batch.to_pylist())
    asyncio.run(_fetch_rows(rows, job, sinks, packs))
    packs.close()
    for _ in rows:
        pass  # Spark's input must be read to its end; the driver sends these addresses to new tasks
    yield sinks.close()


async def _fetch_rows(rows: Iterator[dict[str, Any]], job: FetchJob, sinks: TableSinks, packs: PackWriter) -> None:
    ends = time.monotonic() + job.seconds
    waiting: dict[str, dict[str, Any]] = {}

    def take_requests() -> Iterator[FetchRequest]:
        while time.monotonic() < ends and (row := next(rows, None)) is not None:
            waiting[row["uri"]] = row
            yield FetchRequest(row["uri"], row["etag"], row["last_modified"], is_known=row["image_sha256"] is not None)

    loop = asyncio.get_running_loop()
    results: list[PhotoAnswer] = []
    size = 0
    kept: asyncio.Future[None] | None = None
    # One thread, one batch at a time, so that packs and sinks need no lock.
    with ThreadPoolExecutor(1, thread_name_prefix="keep") as thread:
        async with Fetcher(job.policy) as fetcher:
            async for result in fetcher.fetch_all(take_requests()):
                # Hashed here: each hash gives up the interpreter, and the other thread would wait to get it back.
                hashes = PhotoHashes.compute(result.data) if result.outcome == FETCHED else None
                results.append((waiting.pop(result.request.uri), result, hashes))
                size += len(result.data)
                if len(results) >= BATCH_PHOTOS or size >= BATCH_BYTES:
                    if kept is not None:
                        await kept
                    kept, results, size = loop.run_in_executor(thread, keep_photos, results, sinks, packs), [], 0
        if kept is not None:
            await kept
        keep_photos(results, sinks, packs)


def keep_photos(answers: Iterable[PhotoAnswer], sinks: TableSinks, packs: PackWriter) -> None:
    """Pack new photos, and write and count the answers."""
    stored, rows = [], []
    for row, result, hashes in answers:
        if hashes is not None and (part := packs.add(hashes.sha256, result.data, hashes.checksum)):
            stored.append(part)
        sinks.counts[ANSWERED] += result.outcome != FAILED
        rows.append(make_image_row(row, result, hashes and hashes.sha256))
    sinks[STORED_IMAGES.name].write_rows(stored)
    sinks[IMAGES.name].write_rows(rows)


def make_image_row(row: dict[str, Any], result: FetchResult, sha256: str | None) -> dict[str, object]:
    """Return the row of `images` for an answer.

    Args:
        row: row of `jobs.images.versions.select_due`, with the previous state.
        result: result of the request.
        sha256: SHA-256 of a fetched body.
    """
    answer: dict[str, object] = {
        "uri": row["uri"],
        "outcome": result.outcome,
        "given_version": row["given_version"],
        "asked_at": datetime.now(UTC),
    }
    if result.outcome != FAILED:
        validators = {"etag": result.etag, "last_modified": result.last_modified}
        known = sha256 or row["image_sha256"]
        found = {"image_sha256": known, "size": len(result.data), "failed_nights": 0, "missing_nights": 0}
        return {**answer, **validators, **found}
    is_missing = result.reason == Reason.IMAGE_MISSING
    failed, missing = row["failed_nights"] + result.is_asked, row["missing_nights"] + is_missing
    # A file that is missing may be on a volume that is not mounted; only a host can say that a photo is gone.
    is_gone = missing >= GONE_NIGHTS and is_web(row["uri"])
    return {
        **answer,
        "reason": Reason.IMAGE_GONE if is_gone else result.reason,
        "cause": result.cause,
        "detail": result.detail,
        "image_sha256": None if is_gone else row["image_sha256"],
        "etag": row["etag"],
        "last_modified": row["last_modified"],
        "failed_nights": failed,
        "missing_nights": missing,
    }
