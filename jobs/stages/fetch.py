"""Stage fetch: determines the version of every photo for the image store, and brings new photos into the store.

These are the photos by URL; with `MOON_IMAGE_STORE=all` also those of folders and object stores. Answers are committed
as they arrive, so a killed run loses about a minute of work. After the last answer the versions are frozen, and the
products of the date get the versions and new content hashes. A date that is fetched sends no requests when it is run
again. Sources: docs/decisions/0043-photos-by-url.md, 0050-store-of-all-photos.md.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.sql import functions as F

from jobs.catalog.source import list_allowed_roots
from jobs.errors import NightStoppedError
from jobs.images.fetch_task import ANSWERED, FetchJob, run_fetch_task
from jobs.images.fetcher import make_policy
from jobs.images.import_task import ImportJob, run_import_task
from jobs.images.versions import (
    OUTCOMES,
    apply_versions,
    is_web_image,
    select_all,
    select_due,
    select_failed,
    select_unstored,
    select_wanted,
    settle_versions,
)
from jobs.spark.gpus import count_task_slots
from jobs.spark.progress import announce_work, report_done
from jobs.stages.breakers import check_photos, check_refused_photos
from jobs.stages.estimate import FetchEstimate, measure_photos_a_second
from jobs.stages.task_io import RecordBatches, repartition_by_key, run_tasks
from jobs.state.plan_record import Plan, find_last_served_plan
from jobs.state.run_context import RunContext, StageResult
from schemas.product import CatalogProduct, compute_content_hash
from schemas.tables import IMAGE_VERSIONS, IMAGES, PRODUCTS, STORED_IMAGES
from schemas.uri import is_web
from validation.reasons import UNREACHED

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

STAGE = "fetch"
WAVE_SECONDS = 60.0
"""How long tasks fetch before the driver commits what they have and says how far it is."""

log = logging.getLogger(__name__)


def fetch(context: RunContext, _plan: Plan | None = None) -> StageResult:
    """Bring the photos that are due into the store, freeze the date's versions and write them to its products.

    Returns:
        counts: wanted photos, their outcomes, and the number of hosts' answers in this execution; details: failures by
        cause, and the estimate made before the first request.

    Raises:
        NightStoppedError: nothing was validated for the date, or too many photos without a known version are refused.
        PhotosUnreachableError: too many photos without a known version are missing or cannot be reached.
    """
    roots = list_allowed_roots(context)
    if not _has_stored_photos(context, roots):
        return StageResult({}, {"note": "no photos by URL"})
    lake, spark = context.lake, context.spark
    if not lake.count(PRODUCTS.name, context.partition):
        raise NightStoppedError(f"nothing is validated for {context.date}: run `moon validate --date {context.date}`")
    is_settled = is_fetched(context)
    if is_settled and not context.refetch:
        return StageResult(_count_outcomes(context)[0], {"note": "found committed"})
    images = lake.read(spark, IMAGES.name)
    with_files, is_by_url = context.settings.image_store == "all", is_web_image(F.col("uri"))
    if is_settled:
        versions = lake.read(spark, IMAGE_VERSIONS.name, context.partition)
        wanted = versions.select("uri", "given_version").persist()
        failed = select_failed(versions, images, context.date)
        unread, due = failed.where(~is_by_url), failed.where(is_by_url)
    else:
        products = lake.read(spark, PRODUCTS.name, context.partition)
        wanted = select_wanted(products, with_files=with_files).persist()
        files, by_url = wanted.where(~is_by_url), wanted.where(is_by_url)
        if lake.count(IMAGES.name, {}):
            stored = lake.read(spark, STORED_IMAGES.name)
            unread = select_unstored(files, images, stored, context.date)
            due = select_due(by_url, images, stored, context.date, context.settings.recheck_nights)
        else:
            unread, due = select_all(files), select_all(by_url)
    try:
        if with_files:
            _read_files(context, unread, roots)
        answered, estimate = _ask_hosts(context, due, roots)
        _freeze_versions(context, wanted)
        counts, failures = _count_outcomes(context, wanted.count())
    finally:
        wanted.unpersist()
    _update_products(context)
    return StageResult({**counts, ANSWERED: answered}, {**failures, "estimate": estimate})


def is_fetched(context: RunContext) -> bool:
    """Return whether the products of the date have the photo versions of a completed fetch."""
    marked = context.lake.read_transaction_version(PRODUCTS.name, _mark_name(context))
    return 0 < marked == context.lake.read_partition_version(PRODUCTS.name, context.partition)


def check_fetched(context: RunContext) -> None:
    """Check that the date's photos for the image store were fetched.

    Raises:
        NightStoppedError: they were not; the message names the command to run.
    """
    settings = context.settings
    # Without a catalogue the image roots are unknown: this is an operation on dates that were fetched before.
    has_roots = bool(settings.catalog or settings.allowed_roots)
    if has_roots and not is_fetched(context) and _has_stored_photos(context, list_allowed_roots(context)):
        raise NightStoppedError(
            f"the photos of {context.date} are not fetched yet: run `moon fetch --date {context.date}`, or "
            f"`moon prepare --date {context.date}` for all steps up to the plan"
        )


def _has_stored_photos(context: RunContext, roots: tuple[str, ...]) -> bool:
    """Return whether the image store keeps photos of this catalogue."""
    return context.settings.image_store == "all" or any(map(is_web, roots))


def _ask_hosts(context: RunContext, due: "DataFrame", roots: tuple[str, ...]) -> tuple[int, str]:
    """Request the due photos by URL from their hosts.

    Returns:
        The number of answers without failures, and the estimate of size and time.
    """
    due = due.persist()
    try:
        estimate, hosts = _estimate_fetch(context, due)
        log.info("%s", estimate)
        job = FetchJob(
            storage=context.lake.storage,
            policy=make_policy(context.settings, roots),
            date=context.date,
            seconds=WAVE_SECONDS,
            side=context.settings.image_store_side,
        )
        tasks = max(1, min(count_task_slots(context.spark), hosts))

        def spread(left: "DataFrame") -> "DataFrame":
            """Give each host to one task, which applies its limits; one task serves several hosts."""
            return repartition_by_key(left.withColumn("place", F.xxhash64("uri")), tasks, ["host"], ["place"])

        return _run_waves(context, due, estimate.photos, spread, partial(run_fetch_task, job=job)), str(estimate)
    finally:
        due.unpersist()


def _read_files(context: RunContext, unread: "DataFrame", roots: tuple[str, ...]) -> None:
    """Read photos of folders and object stores into the store."""
    unread = unread.persist()
    try:
        total = unread.count()
        if total:
            log.info("%d photos of folders and object stores to read into the image store", total)
        settings = context.settings
        job = ImportJob(context.lake.storage, roots, context.date, WAVE_SECONDS, settings.image_store_side)
        slots = count_task_slots(context.spark)

        def spread(left: "DataFrame") -> "DataFrame":
            return repartition_by_key(left, slots, ["uri"], ["uri"])

        _run_waves(context, unread, total, spread, partial(run_import_task, job=job))
    finally:
        unread.unpersist()


def _run_waves(
    context: RunContext,
    due: "DataFrame",
    total: int,
    spread: "Callable[[DataFrame], DataFrame]",
    task: Callable[[RecordBatches], RecordBatches],
) -> int:
    """Send the due photos to tasks in waves until each has an answer, and commit every wave.

    Args:
        context: run context.
        due: the photos, with the columns of `select_due`.
        total: their number.
        spread: partitions the rows of a wave.
        task: `run_fetch_task` or `run_import_task` with its job.

    Returns:
        The number of answers without failures.
    """
    lake, spark = context.lake, context.spark
    done, answered = 0, 0
    started = datetime.now(UTC)
    announce_work(total, "photos")
    while done < total:
        asked = lake.read(spark, IMAGES.name, context.partition).where(F.col("asked_at") >= started)
        left = due.join(asked.select("uri"), "uri", "left_anti")
        output = run_tasks(spread(left), task, on_gpu=False)
        # Bytes first, so that a row of `images` never names a photo that the store lacks.
        lake.commit(STORED_IMAGES.name, output.files.get(STORED_IMAGES.name, []), attempt=None, partition={})
        answers = output.files.get(IMAGES.name, [])
        lake.commit(IMAGES.name, answers, attempt=None, partition=context.partition)
        if not answers:
            break  # a concurrent run of the date has brought the rest
        done += sum(file.rows for file in answers)
        answered += output.counts[ANSWERED]
        report_done(done)
    return answered


def _estimate_fetch(context: RunContext, due: "DataFrame") -> tuple[FetchEstimate, int]:
    """Return the estimate for the due photos, and the number of their hosts.

    A body is expected for each photo without a known validator.
    """
    lake = context.lake
    is_new = F.coalesce("etag", "last_modified").isNull()
    counts = {"photos": F.count("*"), "bodies": F.count_if(is_new), "hosts": F.count_distinct("host")}
    [row] = due.agg(*(count.alias(name) for name, count in counts.items())).collect()
    if not row.photos:
        return FetchEstimate(0, 0), 0
    [stored] = lake.read(context.spark, STORED_IMAGES.name).agg(F.avg("size").alias("size")).collect()
    return FetchEstimate(row.photos, row.bodies, stored.size, measure_photos_a_second(lake)), row.hosts


def _freeze_versions(context: RunContext, wanted: "DataFrame") -> None:
    """Commit the photo versions of the date after checking the breakers for photos without a version.

    Raises:
        PhotosUnreachableError: too many of them are missing or cannot be reached.
        NightStoppedError: too many of them are refused.
    """
    lake = context.lake
    settled = settle_versions(wanted, lake.read(context.spark, IMAGES.name), context.date)
    files = lake.write(settled, IMAGE_VERSIONS.name, context.partition)
    rows = lake.read_written(context.spark, IMAGE_VERSIONS.name, files)
    try:
        _check_lacking(context, rows, sum(file.rows for file in files))
    except BaseException:
        lake.discard(IMAGE_VERSIONS.name, files)
        raise
    lake.commit(IMAGE_VERSIONS.name, files, attempt=None, partition=context.partition, mode="overwrite")


def _check_lacking(context: RunContext, versions: "DataFrame", images: int) -> None:
    """Apply the breakers to photos without a version: unreachable ones and refused ones."""
    lacking = versions.where(F.col("image_sha256").isNull())
    counted = lacking.groupBy("reason").agg(F.count("*").alias("photos"), F.min("detail").alias("example")).collect()
    unreached = sum(row.photos for row in counted if row.reason in UNREACHED)
    check_photos(context, unreached=unreached, images=images)
    refused = {row.reason: row for row in counted if row.reason not in UNREACHED}
    reasons = {reason: row.photos for reason, row in refused.items()}
    if sum(reasons.values()) > context.settings.breaker_floor:
        example = refused[max(reasons, key=lambda reason: reasons[reason])].example
        last_share = _read_last_share(context)
        check_refused_photos(context, reasons=reasons, example=example, images=images, last_share=last_share)


def _read_last_share(context: RunContext) -> float | None:
    """Return the share of refused photos without a version on the date served last; None if nothing was served."""
    last = find_last_served_plan(context.lake)
    if last is None:
        return None
    partition = {"date": last.date}
    versions = context.lake.read(context.spark, IMAGE_VERSIONS.name, partition)
    refused = versions.where(F.col("image_sha256").isNull() & ~F.col("reason").isin(*UNREACHED)).count()
    return refused / max(context.lake.count(IMAGE_VERSIONS.name, partition), 1)


def _update_products(context: RunContext) -> None:
    """Write the frozen versions and new content hashes to the products of the date, and mark them as fetched."""
    lake, spark = context.lake, context.spark
    version = lake.read_partition_version(PRODUCTS.name, context.partition)
    products = lake.read(spark, PRODUCTS.name, context.partition).select(*PRODUCTS.columns.names)
    versions = lake.read(spark, IMAGE_VERSIONS.name, context.partition)
    files = lake.write(apply_versions(products, versions), PRODUCTS.name, context.partition, transform=hash_products)
    committed = lake.commit(
        PRODUCTS.name,
        files,
        attempt=f"{STAGE}/{context.date}/{version}",
        partition=context.partition,
        mode="overwrite",
        marks={_mark_name(context): version + 1},
    )
    if not committed:
        lake.discard(PRODUCTS.name, files)


def hash_products(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield canonical rows of `products` with the content hash of their values."""
    for batch in batches:
        rows: list[dict[str, Any]] = batch.to_pylist()
        hashed = [{**row, "content_hash": compute_content_hash(CatalogProduct.from_row(row))} for row in rows]
        yield pa.RecordBatch.from_pylist(hashed, schema=PRODUCTS.columns)


def _mark_name(context: RunContext) -> str:
    return f"fetched:{context.date}"


def _count_outcomes(context: RunContext, wanted: int | None = None) -> tuple[dict[str, int], dict[str, str]]:
    """Return the number of wanted photos and of each outcome, and a detail with the failures by cause (404, timeout …).

    Args:
        context: run context.
        wanted: number of addresses that the products of the date name; None if the versions were frozen before.

    Raises:
        NightStoppedError: the numbers do not add up.
    """
    versions = context.lake.read(context.spark, IMAGE_VERSIONS.name, context.partition)
    cause = F.when(F.col("reason").isNotNull(), F.coalesce("cause", F.lit("not asked")))
    found, causes = Counter[str](), Counter[str]()
    for row in versions.groupBy("outcome", cause.alias("cause")).count().collect():
        found[row.outcome] += row["count"]
        if row.cause:
            causes[row.cause] += row["count"]
    counts = {outcome: found[outcome] for outcome in OUTCOMES}
    total = sum(counts.values())
    if total != found.total() or total != (total if wanted is None else wanted):
        raise NightStoppedError(
            f"{wanted:,} photos were wanted, but {total:,} are accounted for: {dict(found)}. Run "
            f"`moon fetch --refetch --date {context.date}`, and report this"
        )
    words = ", ".join(f"{name}: {count:,}" for name, count in causes.most_common())
    return {"wanted": total, **counts}, {"failures": words} if words else {}
