"""Stage encode: computes the vectors of the plan's new and changed products.

The driver joins text and image references. Workers read the pixels and write the vectors (`jobs.stages.encode_task`),
so neither passes through Spark. Complete vectors are committed in shards while the tasks run
(docs/decisions/0049-shards-of-vectors.md).
"""

import logging
from collections import Counter
from functools import partial

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.catalog.source import list_allowed_roots
from jobs.errors import FenceError
from jobs.lake.writing import AddedFile
from jobs.pages.unread import UNREAD, UNREAD_OF
from jobs.spark.gpus import count_task_slots
from jobs.stages.breakers import check_refused_products
from jobs.stages.detect import check_unreached, select_images_to_encode, select_products_to_encode
from jobs.stages.encode_task import (
    ENCODED,
    PARTIAL,
    PARTIAL_VECTORS,
    UNREAD_PARTS,
    EncodeJob,
    run_encode_task,
)
from jobs.stages.estimate import RESUMED
from jobs.stages.kept_products import keep_products
from jobs.stages.task_io import TaskOutput, choose_task_count, repartition_by_key, run_tasks
from jobs.stages.worker_models import worker_path
from jobs.state.ledger import read_ledger
from jobs.state.model_registry import read_registered_model
from jobs.state.plan_record import Plan
from jobs.state.run_context import RunContext, StageResult
from schemas.tables import CONTENT_KEY, VECTORS
from validation.reasons import Reason

log = logging.getLogger(__name__)

STAGE = "encode"
PRODUCTS_PER_TASK = 128
"""Enough for progress to be seen; small enough that no core idles long at the end."""


def encode(context: RunContext, plan: Plan) -> StageResult:
    """Compute and commit the vectors of the plan; return their counts.

    Complete vectors are committed as tasks finish. When all have ended, refusals (`quarantine`) are committed and then
    the rest of `vectors`, because that commit marks the stage as done.

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
    shards = VectorShards(context, partitions["vectors"], attempt)
    output = _run(context, plan, partitions, shards) if plan.counts.to_encode else TaskOutput()
    refused, complete = output.files.get("quarantine", []), output.files.get(VECTORS.name, [])
    check_unreached(context, plan, refused)
    # Only a product that lacks a photo can be kept, and its vector is partial.
    files = keep_products(context, plan, {"quarantine": refused, VECTORS.name: output.files.get(PARTIAL_VECTORS, [])})
    refused, vectors = files["quarantine"], [*complete, *files[VECTORS.name]]
    kept, lost = _count_unencoded(context, refused)
    _check_lost(context, plan, lost)
    context.lake.commit("quarantine", refused, attempt=attempt, partition=partitions["quarantine"], mode="overwrite")
    shards.commit_rest(vectors)
    encoded = shards.earlier[ENCODED] + sum(file.rows for file in vectors)
    counts = {"products": plan.counts.to_encode, "encoded": encoded, "kept": kept, "quarantined": lost}
    return StageResult(counts, {**details, **shards.describe(), **_describe_unread(shards.count(output, PARTIAL))})


class VectorShards:
    """Commits of a run's complete vectors, a shard at a time: those of the tasks that have finished since the last one.

    The commits of a run are fenced by a counter. A concurrent copy of the run that finds it raised leaves committing
    shards to the other one, and commits at its end what that one has not committed.

    Args:
        context: run context.
        partition: partition of `vectors`.
        attempt: attempt that marks the stage as done; the counter and the numbers of products carry its name.

    Attributes:
        earlier: counts of the products in shards that earlier executions of the run committed.
    """

    def __init__(self, context: RunContext, partition: dict[str, str], attempt: str) -> None:
        self._context, self._lake = context, context.lake
        self._partition, self._attempt = partition, attempt
        self._counter = f"shards:{attempt}"
        self._version = self._lake.read_transaction_version(VECTORS.name, self._counter)
        self._is_alone = True
        self._committed: set[str] = set()
        names = (ENCODED, *UNREAD_PARTS) if self._version else ()
        found = {name: self._lake.read_transaction_version(VECTORS.name, self._mark(name)) for name in names}
        self.earlier = Counter(found)

    def _mark(self, name: str) -> str:
        return f"{name}:{self._attempt}"

    def describe(self) -> dict[str, str]:
        """Return the number of products that earlier executions encoded, as a detail; empty without them."""
        return {RESUMED: str(self.earlier[ENCODED])} if self.earlier[ENCODED] else {}

    def count(self, output: TaskOutput, *kinds: str) -> Counter[str]:
        """Return the counts of all executions by the names `ENCODED` and `UNREAD_PARTS`.

        Args:
            output: output of tasks of this execution.
            kinds: `PARTIAL`, where products with a partial vector count as well.
        """
        names = (ENCODED, *UNREAD_PARTS)
        return Counter(
            {name: self.earlier[name] + sum(output.counts[f"{kind}{name}"] for kind in ("", *kinds)) for name in names}
        )

    def select_left(self, rows: DataFrame) -> DataFrame:
        """Return the rows of products that no shard of an earlier execution holds."""
        return rows.join(self._read_complete(), CONTENT_KEY, "left_anti") if self.earlier[ENCODED] else rows

    def commit(self, output: TaskOutput) -> None:
        """Commit the complete vectors of the tasks that have finished, unless a concurrent copy of the run does it."""
        files = self._list_uncommitted(output.files.get(VECTORS.name, []))
        if not files or not self._is_alone:
            return
        counts = self.count(output)
        marks = {self._mark(name): counts[name] for name in counts}
        try:
            self._lake.commit(
                VECTORS.name,
                files,
                attempt=None,
                partition=self._partition,
                counter=(self._counter, self._version),
                marks=marks,
            )
        except FenceError:
            self._is_alone = False
            log.info("a concurrent run commits the vectors of %s: this one waits until its end", self._attempt)
            return
        self._version += 1
        self._committed |= {file.path for file in files}
        log.info("committed the vectors of %d products", counts[ENCODED])

    def commit_rest(self, files: list[AddedFile]) -> None:
        """Commit what is not committed, which marks the stage as done; each content gets one vector."""
        rest = self._list_uncommitted(files)
        while True:
            counter = (self._counter, self._version)
            try:
                self._lake.commit(VECTORS.name, rest, attempt=self._attempt, partition=self._partition, counter=counter)
            except FenceError:
                self._version = self._lake.read_transaction_version(VECTORS.name, self._counter)
                rest = self._drop_committed(rest)
            else:
                return

    def _list_uncommitted(self, files: list[AddedFile]) -> list[AddedFile]:
        return [file for file in files if file.path not in self._committed]

    def _drop_committed(self, files: list[AddedFile]) -> list[AddedFile]:
        """Return the rows of files, written again, without those for which a concurrent run has committed a vector."""
        rows = self._lake.read_written(self._context.spark, VECTORS.name, files)
        left = rows.join(self._read_complete(), CONTENT_KEY, "left_anti")
        written = self._lake.write(left, VECTORS.name, self._partition)
        self._lake.discard(VECTORS.name, files)
        return written

    def _read_complete(self) -> DataFrame:
        vectors = self._lake.read(self._context.spark, VECTORS.name, self._partition)
        return vectors.where(~F.col("partial")).select(*CONTENT_KEY)


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


def _run(context: RunContext, plan: Plan, partitions: dict[str, dict[str, str]], shards: VectorShards) -> TaskOutput:
    if shards.earlier[ENCODED]:
        log.info("%d of %d products are encoded already", shards.earlier[ENCODED], plan.counts.to_encode)
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
    # The number of tasks does not depend on what is left: a task that is run again forms the same batches.
    wanted = shards.select_left(select_rows_to_encode(context, plan, model.max_images))
    rows = repartition_by_key(wanted, tasks, ["product_id"], ["product_id"])
    return run_tasks(rows, partial(run_encode_task, job=job), report=shards.commit)
