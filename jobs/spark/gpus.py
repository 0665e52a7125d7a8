"""Returns the number of parallel tasks of a GPU stage in a Spark cluster, and the resource profile of such a stage.

The setting ``spark.executor.resource.gpu.amount`` means that executors have GPUs. Tasks of ordinary stages still run on
every core. Detect and encode request one whole GPU per task by their own resource profile, so that one task owns each
GPU and prefetches in threads. The task itself determines its device (`jobs.stages.worker_models.task_device`).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import SparkSession

EXECUTOR_GPUS_KEY = "spark.executor.resource.gpu.amount"
"""Spark's setting: GPUs of each executor."""


def count_executor_gpus(spark: "SparkSession") -> int:
    """Return the number of GPUs per executor; 0 in local mode, where a stage that requests a GPU would never start."""
    context = spark.sparkContext
    if str(context.master).startswith("local"):
        return 0
    return int(context.getConf().get(EXECUTOR_GPUS_KEY) or 0)


def build_gpu_profile(spark: "SparkSession") -> "ResourceProfile | None":
    """Return the resource profile of a GPU stage, one GPU per task; None if Spark does not manage GPUs.

    It has no executor resources, so existing executors can run it, with and without dynamic allocation.
    """
    from pyspark.resource import ResourceProfileBuilder, TaskResourceRequests  # noqa: PLC0415

    if not count_executor_gpus(spark):
        return None
    return ResourceProfileBuilder().require(TaskResourceRequests().cpus(1).resource("gpu", 1)).build


def count_task_slots(spark: "SparkSession") -> int:
    """Return the number of parallel tasks of a GPU stage: one per GPU of the cluster, or one per core without GPUs."""
    gpus = count_executor_gpus(spark)
    if not gpus:
        return spark.sparkContext.defaultParallelism
    tracker = spark.sparkContext._jsc.sc().statusTracker()
    executors = len(tracker.getExecutorInfos()) - 1  # the driver is among them
    return max(1, executors) * gpus
