"""Stage detect: finds the core regions of images that the plan encodes and that have no region yet.

A region belongs to an image (URI and version) and a detector, not to a date. A product whose title changed therefore
needs no detection.
"""

from functools import partial

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.catalog.source import list_allowed_roots
from jobs.images.versions import locate_images
from jobs.lake.writing import AddedFile
from jobs.spark.gpus import count_task_slots
from jobs.spark.progress import announce_work
from jobs.stages.breakers import check_photos
from jobs.stages.detect_task import DetectJob, run_detect_task
from jobs.stages.kept_products import count_unreached_images
from jobs.stages.task_io import choose_task_count, repartition_by_key, run_tasks
from jobs.state.changes import ENCODED_OPS
from jobs.state.model_registry import read_registered_model
from jobs.state.plan_record import Plan
from jobs.state.run_context import RunContext, StageResult
from schemas.tables import CONTENT_KEY

STAGE = "detect"
IMAGES_PER_TASK = 512


def detect(context: RunContext, plan: Plan) -> StageResult:
    """Find and commit the missing regions of the plan's images; return their counts.

    Commits refused images (`quarantine`) first and `regions` last, because that commit marks the stage as done. Images
    that an earlier run of the date refused stay in `quarantine` if this plan does not encode their products.

    Raises:
        NightStoppedError: there is no plan for the date, or the model's files changed since.
        PhotosUnreachableError: too many photos are missing or cannot be reached.
    """
    details = {"run_id": plan.run_id, "model": plan.model_version}
    attempt = f"{STAGE}/{plan.run_id}"
    if context.lake.is_committed("regions", attempt):
        return StageResult({}, {**details, "note": "found committed"})
    partitions = {
        "quarantine": context.quarantine_partition(STAGE, plan.purpose),
        "regions": {"detector_version": plan.detector_version},
    }
    files = _run(context, plan, partitions) if plan.counts.images else {}
    refused, regions = files.get("quarantine", []), files.get("regions", [])
    check_unreached(context, plan, refused)
    standing = _rewrite_refused(context, plan, partitions["quarantine"])
    context.lake.commit(
        "quarantine", [*refused, *standing], attempt=attempt, partition=partitions["quarantine"], mode="overwrite"
    )
    context.lake.commit("regions", regions, attempt=attempt, partition=partitions["regions"])
    counts = {"images": sum(file.rows for file in regions), "refused": sum(file.rows for file in refused)}
    return StageResult(counts, details)


def check_unreached(context: RunContext, plan: Plan, refused: list[AddedFile]) -> None:
    """Apply the breaker to the photos that a stage could not reach, as a share of all photos for the model.

    Raises:
        PhotosUnreachableError: the share is too large.
    """
    if sum(file.rows for file in refused) <= context.settings.breaker_floor:
        return
    model = read_registered_model(context.lake, context.settings, plan.model_version, plan.collection)
    products = context.lake.read(context.spark, "products", context.partition)
    images = products.agg(F.sum(F.least(F.size("images"), F.lit(model.max_images))).alias("images")).collect()[0].images
    check_photos(context, unreached=count_unreached_images(context, refused), images=images)


def select_products_to_encode(context: RunContext, plan: Plan) -> DataFrame:
    """Return the products that the plan encodes, with the columns of `products`."""
    changes = context.lake.read(context.spark, "changes", plan.partition).where(F.col("op").isin(*ENCODED_OPS))
    products = context.lake.read(context.spark, "products", context.partition)
    return products.join(changes, CONTENT_KEY, "left_semi")


def select_images_to_encode(context: RunContext, plan: Plan, max_images: int) -> DataFrame:
    """Return the images that the plan's encoding reads.

    Returns:
        product_id, source_row, image_index (0-based, < max_images), uri, version, and key, stored and failure as
        `jobs.images.versions.locate_images` returns them; one row for each use of an image.
    """
    shown = F.posexplode(F.slice("images", 1, max_images)).alias("image_index", "image")
    images = select_products_to_encode(context, plan).select("product_id", "source_row", shown)
    images = images.select("product_id", "source_row", "image_index", "image.uri", "image.version")
    return locate_images(context.spark, context.lake, context.date, images)


def _run(context: RunContext, plan: Plan, partitions: dict[str, dict[str, str]]) -> dict[str, list[AddedFile]]:
    model = read_registered_model(context.lake, context.settings, plan.model_version, plan.collection)
    key = ["key", "version"]
    regions = context.lake.read(context.spark, "regions", partitions["regions"])
    known = regions.select(F.col("uri").alias("key"), "version")
    # An image of unknown version (null) matches no region: its bytes may have changed.
    missing = select_images_to_encode(context, plan, model.max_images).join(known, key, "left_anti")
    tasks = choose_task_count(plan.counts.images, IMAGES_PER_TASK, count_task_slots(context.spark))
    job = DetectJob(
        storage=context.lake.storage,
        partitions=partitions,
        roots=list_allowed_roots(context),
        detector=model.detector,
        detector_version=plan.detector_version,
    )
    announce_work(plan.counts.images, "images", tasks=tasks)
    # Sorted, so that all uses of one image are adjacent rows of one task.
    rows = repartition_by_key(missing, tasks, key, [*key, "source_row", "image_index"])
    return run_tasks(rows, partial(run_detect_task, job=job)).files


def _rewrite_refused(context: RunContext, plan: Plan, partition: dict[str, str]) -> list[AddedFile]:
    """Write again the refusals by earlier plans of the date for products that this plan does not encode.

    A date that is run again after it was served plans only the remaining work, and its bad images are still bad.
    The refusals keep their reasons, with the product's current row number in the date's snapshot.
    """
    if not context.lake.count("quarantine", partition):
        return []
    here = context.lake.read(context.spark, "products", context.partition).select("product_id", "source_row")
    left = here.join(select_products_to_encode(context, plan).select("product_id"), "product_id", "left_anti")
    earlier = context.lake.read(context.spark, "quarantine", partition).drop("source_row")
    return context.lake.write(earlier.join(left, "product_id"), "quarantine", partition)
