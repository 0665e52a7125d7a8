"""encode: tonight's new and changed products become vectors.

The driver joins text and image references; pixels are read by the workers (`jobs.stages.encode_task`) and vectors are
written by them, so neither passes through Spark.
"""

from functools import partial

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.catalog.source import allowed_roots
from jobs.lake.writing import AddedFile
from jobs.spark.gpus import task_slots
from jobs.stages.detect import images_to_encode, products_to_encode
from jobs.stages.encode_task import EncodeJob, encode_task
from jobs.stages.task_io import run_tasks, spread, task_count
from jobs.stages.worker_models import place_for_workers
from jobs.state.model_registry import registered_model
from jobs.state.plan_record import Plan, required_plan
from jobs.state.run_context import Night, StageResult

STAGE = "encode"
PRODUCTS_PER_TASK = 128
"""Enough for progress to be seen; small enough that no core idles long at the end."""


def encode(night: Night) -> StageResult:
    """Make and commit the vectors of tonight's plan.

    Commits refusals (`quarantine`) first and `vectors` last: they are the mark.

    Raises:
        NightStoppedError: there is no plan for the date, or the model's files changed since.
    """
    plan = night.apart or required_plan(night.lake, night.date)
    details = {"run_id": plan.run_id, "model": plan.model_version}
    attempt = f"{STAGE}/{plan.run_id}"
    if night.lake.done("vectors", attempt):
        return StageResult({}, {**details, "note": "found committed"})
    partitions = {
        "quarantine": night.quarantine(STAGE),
        "vectors": {"model_version": plan.model_version, "date": night.date},
    }
    files = _run(night, plan, partitions) if plan.to_encode else {}
    refused, vectors = files.get("quarantine", []), files.get("vectors", [])
    night.lake.commit("quarantine", refused, attempt=attempt, partition=partitions["quarantine"], mode="overwrite")
    night.lake.commit("vectors", vectors, attempt=attempt, partition=partitions["vectors"])
    encoded = sum(file.rows for file in vectors)
    counts = {"products": plan.to_encode, "encoded": encoded, "quarantined": plan.to_encode - encoded}
    return StageResult(counts, details)


def rows_to_encode(night: Night, plan: Plan, max_images: int) -> DataFrame:
    """Return what the tasks need of each product.

    Returns:
        The columns of `products` and ``regions``: image_index, image_sha256, box, score and source of each image
        that the model will see. An image without a region failed in detect; one with two was found by two nights
        at once.
    """
    images = images_to_encode(night, plan, max_images)
    regions = night.lake.read(night.spark, "regions", {"detector_version": plan.detector_version})
    same_image = (images["uri"] == regions["uri"]) & images["version"].eqNullSafe(regions["version"])
    region = F.struct("image_index", "image_sha256", "box", "score", "source")
    found = images.join(regions, same_image).groupBy("product_id").agg(F.collect_list(region).alias("regions"))
    return products_to_encode(night, plan).join(found, "product_id", "left")


def _run(night: Night, plan: Plan, partitions: dict[str, dict[str, str]]) -> dict[str, list[AddedFile]]:
    model = registered_model(night.lake, night.settings, plan.model_version, plan.collection)
    tasks = task_count(plan.to_encode, PRODUCTS_PER_TASK, task_slots(night.spark))
    job = EncodeJob(
        storage=night.lake.storage,
        partitions=partitions,
        roots=allowed_roots(night),
        model=place_for_workers(model.uri),
        model_version=plan.model_version,
        detector=night.settings.detector,
        max_images=model.max_images,
        batch_tokens=night.settings.batch_tokens,
    )
    rows = spread(rows_to_encode(night, plan, model.max_images), tasks, ["product_id"], ["product_id"])
    return run_tasks(rows, partial(encode_task, job=job))
