"""Stage encode: computes the vectors of the plan's new and changed products.

The driver joins text and image references. Workers read the pixels and write the vectors (`jobs.stages.encode_task`),
so neither passes through Spark.
"""

from collections import Counter
from functools import partial

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.catalog.source import list_allowed_roots
from jobs.lake.writing import AddedFile
from jobs.spark.gpus import count_task_slots
from jobs.stages.breakers import check_refused_products
from jobs.stages.detect import check_unreached, select_images_to_encode, select_products_to_encode
from jobs.stages.encode_task import ENCODED, UNREAD_PARTS, EncodeJob, run_encode_task
from jobs.stages.kept_products import keep_products
from jobs.stages.task_io import TaskOutput, choose_task_count, repartition_by_key, run_tasks
from jobs.stages.worker_models import worker_path
from jobs.state.ledger import read_ledger
from jobs.state.model_registry import read_registered_model
from jobs.state.plan_record import Plan
from jobs.state.run_context import RunContext, StageResult
from validation.reasons import Reason

STAGE = "encode"
UNREAD = "unread_"
"""Beginning of the names of the result's details that say of how many products a part exceeds what the model reads."""

UNREAD_OF = f"{UNREAD}of"
"""Name of the detail with the number of encoded products; products that are kept after all are among them."""

PRODUCTS_PER_TASK = 128
"""Enough for progress to be seen; small enough that no core idles long at the end."""


def encode(context: RunContext, plan: Plan) -> StageResult:
    """Compute and commit the vectors of the plan; return their counts.

    Commits refusals (`quarantine`) first and `vectors` last, because that commit marks the stage as done.

    Raises:
        NightStoppedError: there is no plan for the date, the model's files changed since, or too many products have no
            usable photo.
        PhotosUnreachableError: too many photos are missing or cannot be reached.
    """
    details = {"run_id": plan.run_id, "model": plan.model_version}
    attempt = f"{STAGE}/{plan.run_id}"
    if context.lake.is_committed("vectors", attempt):
        return StageResult({}, {**details, "note": "found committed"})
    partitions = {
        "quarantine": context.quarantine_partition(STAGE, plan.purpose),
        "vectors": {"model_version": plan.model_version, "date": context.date},
    }
    output = _run(context, plan, partitions) if plan.counts.to_encode else TaskOutput()
    check_unreached(context, plan, output.files.get("quarantine", []))
    files = keep_products(context, plan, output.files)
    refused, vectors = files.get("quarantine", []), files.get("vectors", [])
    kept, lost = _count_unencoded(context, refused)
    _check_lost(context, plan, lost)
    context.lake.commit("quarantine", refused, attempt=attempt, partition=partitions["quarantine"], mode="overwrite")
    context.lake.commit("vectors", vectors, attempt=attempt, partition=partitions["vectors"])
    encoded = sum(file.rows for file in vectors)
    counts = {"products": plan.counts.to_encode, "encoded": encoded, "kept": kept, "quarantined": lost}
    return StageResult(counts, {**details, **_describe_unread(output.counts)})


def _describe_unread(counts: Counter[str]) -> dict[str, str]:
    """Return the number of encoded products, and the numbers of those with a part that the model truncates."""
    if not counts[ENCODED]:
        return {}
    return {UNREAD_OF: str(counts[ENCODED]), **{f"{UNREAD}{part}": str(counts[part]) for part in UNREAD_PARTS}}


def _count_unencoded(context: RunContext, refused: list[AddedFile]) -> tuple[int, int]:
    """Return the numbers of products that are kept and that are refused by new rows of `quarantine`."""
    if not refused:
        return 0, 0
    rows = context.lake.read_written(context.spark, "quarantine", refused).where(F.col("image_index").isNull())
    found = rows.groupBy((F.col("reason") == Reason.PRODUCT_KEPT).alias("is_kept")).count().collect()
    counts = {row.is_kept: row["count"] for row in found}
    return counts.get(True, 0), counts.get(False, 0)


def _check_lost(context: RunContext, plan: Plan, lost: int) -> None:
    """Apply the breaker to products without a usable photo; a rollout has its own breaker."""
    if lost > context.settings.breaker_floor and not plan.is_out_of_band:
        served = read_ledger(context.spark, context.lake, plan.collection).count()
        others = plan.counts.merged + plan.counts.left_out  # rows that are no product of their own
        judged = context.lake.count("snapshots", context.partition) - others
        check_refused_products(context, refused=lost, delivered=judged, served=served)


def select_rows_to_encode(context: RunContext, plan: Plan, max_images: int) -> DataFrame:
    """Return the input rows of the encode tasks, one per product.

    Returns:
        The columns of `products` and ``regions``: image_index, image_sha256, box, score, source and stored (location
        in the image store, or null) of each image that the model will see. An image without a region failed in
        detect; an image with two regions was processed by two concurrent runs.
    """
    images = select_images_to_encode(context, plan, max_images)
    regions = context.lake.read(context.spark, "regions", {"detector_version": plan.detector_version})
    regions = regions.withColumnRenamed("uri", "key")
    same_image = (images["key"] == regions["key"]) & images["version"].eqNullSafe(regions["version"])
    region = F.struct("image_index", "image_sha256", "box", "score", "source", "stored")
    found = images.join(regions, same_image).groupBy("product_id").agg(F.collect_list(region).alias("regions"))
    return select_products_to_encode(context, plan).join(found, "product_id", "left")


def _run(context: RunContext, plan: Plan, partitions: dict[str, dict[str, str]]) -> TaskOutput:
    model = read_registered_model(context.lake, context.settings, plan.model_version, plan.collection)
    tasks = choose_task_count(plan.counts.to_encode, PRODUCTS_PER_TASK, count_task_slots(context.spark))
    job = EncodeJob(
        storage=context.lake.storage,
        partitions=partitions,
        roots=list_allowed_roots(context),
        model=worker_path(model.uri),
        model_version=plan.model_version,
        detector=model.detector,
        max_images=model.max_images,
        batch_tokens=context.settings.batch_tokens,
    )
    rows = repartition_by_key(
        select_rows_to_encode(context, plan, model.max_images), tasks, ["product_id"], ["product_id"]
    )
    return run_tasks(rows, partial(run_encode_task, job=job))
