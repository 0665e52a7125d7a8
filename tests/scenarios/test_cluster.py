"""Tests of a run by spark-submit on a standalone cluster of two workers with a GPU each, and of its results.

Our code is not installed there: the driver runs from an unpacked archive of `scripts/pack_jobs.py`, the executors from
the archives that Spark sends.

The GPUs are simulated by a discovery script: Spark schedules them like real ones. torch does not find them, computes on
the CPU and logs this. The run must have the same result as a local run.
"""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs.datasets.demo_catalog import write_demo_catalog
from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.settings import Settings
from scripts.pack_jobs import CODE, ENVIRONMENT, pack_code, pack_environment, submit_options
from tests.bare_environment import bare_environment
from tests.scenarios.nights import State, assert_same, run_night, state_of
from tests.spark_cluster import Cluster, event_log, spark_cluster

DAY = "2026-11-20"

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]  # a crowded machine; else under four minutes


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with spark_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    write_demo_catalog(folder, products=24, days=1, seed=11, start=date.fromisoformat(DAY))
    return folder


def settings_in(folder: Path, shop: Path) -> dict[str, str]:
    return {
        "MOON_LAKE": str(folder / "lake"),
        "MOON_MILVUS": str(folder / "milvus.db"),
        "MOON_CATALOG": str(shop / "{date}" / "catalog.jsonl"),
        "MOON_MAPPING": str(shop / "mapping.toml"),
        "MOON_MAX_REFUSALS": "0.9",
    }


def as_settings(variables: dict[str, str]) -> Settings:
    return Settings(_env_file=None, **{name.removeprefix("MOON_").lower(): text for name, text in variables.items()})


@pytest.fixture(scope="module")
def local_night(spark: SparkSession, shop: Path, tmp_path_factory: pytest.TempPathFactory) -> State:
    settings = as_settings(settings_in(tmp_path_factory.mktemp("local"), shop))
    outcome = run_night(spark, settings, DAY)
    return state_of(spark, settings, outcome.results["report"].details["model"])


@pytest.fixture(scope="module")
def submitted(cluster: Cluster, shop: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], Path]:
    """The settings of a run by spark-submit, and its event log."""
    folder = tmp_path_factory.mktemp("submitted")
    settings = settings_in(folder, shop)
    python = bare_environment(folder / "environment")
    code = pack_code(folder / CODE)
    environment = pack_environment(folder / ENVIRONMENT, folder / "environment", Path(sys.executable).resolve())
    shutil.unpack_archive(code, folder / "copy")
    events = folder / "events"
    events.mkdir()
    conf = {"spark.eventLog.enabled": "true", "spark.eventLog.dir": events.as_uri()}
    conf |= {"spark.eventLog.compress": "false", "spark.eventLog.rolling.enabled": "false"}
    answer = cluster.submit(
        folder / "copy" / "jobs" / "spark_entrypoint.py",
        ["nightly", "--date", DAY, "--json"],
        settings=settings,
        conf=conf,
        python=python,
        options=submit_options(code, environment, python),
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr[-4000:]
    assert json.loads(answer.stdout.splitlines()[-1])["rows"]["encoded"] > 0
    return settings, events


def test_the_cluster_leaves_what_a_local_night_leaves(
    spark: SparkSession, submitted: tuple[dict[str, str], Path], local_night: State
) -> None:
    settings = as_settings(submitted[0])
    (model,) = Lake(Storage(settings.lake)).read_arrow("models")["model_version"].to_pylist()
    assert_same(state_of(spark, settings, model), local_night)


def test_each_gpu_stage_runs_one_task_a_gpu(submitted: tuple[dict[str, str], Path]) -> None:
    stages: dict[int, Any] = {
        event["Stage Info"]["Stage ID"]: event["Stage Info"]
        for event in event_log(submitted[1], "SparkListenerStageCompleted")
    }
    gpu_stages = {number for number, stage in stages.items() if stage["Resource Profile Id"] != 0}
    assert len(gpu_stages) == 2  # detect and encode; every other stage has the executors' own profile
    for number in gpu_stages:
        tasks = [e for e in event_log(submitted[1], "SparkListenerTaskEnd") if e["Stage ID"] == number]
        assert len(tasks) == 2
        assert len({task["Task Info"]["Executor ID"] for task in tasks}) == 2


def test_the_executors_ran_on_what_was_shipped(cluster: Cluster, submitted: tuple[dict[str, str], Path]) -> None:
    for number in range(2):
        (executor,) = (cluster.folder / f"worker-{number}").glob("app-*/*")
        assert list(executor.glob("moon/jobs/stages/__pycache__/encode_task.*.pyc"))  # imported from there
        assert (executor / "environment" / "bin" / "python").is_symlink()


def test_each_task_had_its_own_device_and_said_that_torch_cannot_use_it(
    cluster: Cluster, submitted: tuple[dict[str, str], Path]
) -> None:
    told = [
        set(re.findall(r"Spark gave this task GPU (\w+), .*models run on the CPU", log))
        for log in cluster.executor_logs()
    ]
    assert told == [{"0"}, {"1"}]
