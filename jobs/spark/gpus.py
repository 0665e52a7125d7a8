"""The GPUs of a Spark cluster: how many tasks of a GPU stage run at once, and how such a stage asks for one each.

A cluster says with ``spark.executor.resource.gpu.amount`` that its executors have GPUs. Tasks of ordinary stages then
run on every core as ever; detect and encode ask for a whole GPU a task by a resource profile of their own, so that one
task owns each GPU and reads ahead in threads. Which device that is, the task finds out itself
(`jobs.stages.worker_models.task_device`).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import SparkSession

EXECUTOR_GPUS_KEY = "spark.executor.resource.gpu.amount"
"""Spark's setting: GPUs of each executor."""


def count_executor_gpus(spark: "SparkSession") -> int:
    """Return how many GPUs an executor has; 0 in local mode, where a stage that asks for one hangs for ever."""
    context = spark.sparkContext
    if str(context.master).startswith("local"):
        return 0
    return int(context.getConf().get(EXECUTOR_GPUS_KEY) or 0)


def build_gpu_profile(spark: "SparkSession") -> "ResourceProfile | None":
    """Return the resources of a GPU stage, one GPU a task; None where Spark hands out no GPUs.

    It names nothing of executors, so the executors that are there serve it, with and without dynamic allocation.
    """
    from pyspark.resource import ResourceProfileBuilder, TaskResourceRequests  # noqa: PLC0415

    if not count_executor_gpus(spark):
        return None
    return ResourceProfileBuilder().require(TaskResourceRequests().cpus(1).resource("gpu", 1)).build


def count_task_slots(spark: "SparkSession") -> int:
    """Return how many tasks of a GPU stage run at once: one a GPU of the cluster, one a core where there are none."""
    gpus = count_executor_gpus(spark)
    if not gpus:
        return spark.sparkContext.defaultParallelism
    tracker = spark.sparkContext._jsc.sc().statusTracker()
    executors = len(tracker.getExecutorInfos()) - 1  # the driver is among them
    return max(1, executors) * gpus
