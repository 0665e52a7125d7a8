"""Tests of how the driver uses the cluster's GPUs; tests/scenarios/test_cluster.py uses a real cluster."""

from types import SimpleNamespace

import pytest

from jobs.spark.gpus import EXECUTOR_GPUS_KEY, build_gpu_profile, count_executor_gpus, count_task_slots


def session(master: str, gpus: str | None, executors: int = 3) -> SimpleNamespace:
    """The parts of a session that these functions read: master, setting and the executors, including the driver."""
    tracker = SimpleNamespace(getExecutorInfos=lambda: [None] * (executors + 1))
    java = SimpleNamespace(sc=lambda: SimpleNamespace(statusTracker=lambda: tracker))
    conf = SimpleNamespace(get={EXECUTOR_GPUS_KEY: gpus}.get)
    context = SimpleNamespace(master=master, getConf=lambda: conf, defaultParallelism=24, _jsc=java)
    return SimpleNamespace(sparkContext=context)


def test_local_mode_never_asks_for_a_gpu(spark):
    assert count_executor_gpus(spark) == 0
    assert build_gpu_profile(spark) is None
    assert count_task_slots(spark) == spark.sparkContext.defaultParallelism
    assert count_executor_gpus(session("local[8]", "1")) == 0


@pytest.mark.parametrize(("gpus", "executors", "slots"), [(None, 3, 24), ("1", 3, 3), ("4", 2, 8), ("2", 0, 2)])
def test_a_cluster_runs_a_task_a_gpu_or_a_task_a_core(gpus, executors, slots):
    assert count_task_slots(session("spark://master:7077", gpus, executors)) == slots


def test_a_gpu_stage_asks_for_one_whole_gpu_a_task(spark):
    profile = build_gpu_profile(session("spark://master:7077", "4"))
    assert profile is not None
    assert profile.taskResources["gpu"].amount == 1
    assert not profile.executorResources
