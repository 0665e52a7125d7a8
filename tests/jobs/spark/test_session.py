"""Tests of the session's configuration and of its workers' environment."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyspark.sql import functions as F

from jobs.settings import Settings
from jobs.spark.session import WORKER_ENVIRONMENT, build_session_configuration

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def test_a_session_of_our_own_stays_on_loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPARK_ENV_LOADED", raising=False)
    settings = Settings(_env_file=None, lake=str(tmp_path / "lake"), spark_master="local[3]")
    configuration = build_session_configuration(settings)
    assert configuration["spark.master"] == "local[3]"
    assert configuration["spark.driver.bindAddress"] == "127.0.0.1"


def test_small_broadcast_tables_take_little_memory(spark) -> None:
    before, joined = measure_heap(spark), []
    for size in range(4):
        joined.append(
            spark.range(9).selectExpr("string(id)").join(F.broadcast(spark.range(size).selectExpr("string(id)")), "id")
        )
        assert len(joined[-1].collect()) == size
    assert measure_heap(spark) - before < 16 << 20  # more than 32 MB with the pages that Spark chooses


def measure_heap(spark: "SparkSession") -> int:
    """Return the bytes of all objects that the JVM still needs."""
    java: Any = spark.sparkContext._jvm
    java.java.lang.System.gc()
    runtime = java.java.lang.Runtime.getRuntime()
    return int(runtime.totalMemory() - runtime.freeMemory())


def test_with_a_lake_on_a_store_joins_wait_for_the_real_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SPARK_ENV_LOADED", raising=False)
    store = build_session_configuration(Settings(_env_file=None, lake="s3://bucket/lake"))
    folder = build_session_configuration(Settings(_env_file=None, lake=str(tmp_path / "lake")))
    assert store["spark.sql.autoBroadcastJoinThreshold"] == "-1"
    assert store["spark.sql.adaptive.autoBroadcastJoinThreshold"] == "10MB"
    assert "spark.sql.warehouse.dir" not in store
    assert "spark.sql.autoBroadcastJoinThreshold" not in folder
    assert folder["spark.sql.warehouse.dir"] == str(tmp_path / "spark-warehouse")


def test_under_spark_submit_the_submit_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARK_ENV_LOADED", "1")
    configuration = build_session_configuration(Settings(_env_file=None))
    assert "spark.master" not in configuration
    assert "spark.driver.memory" not in configuration


def test_workers_run_one_thread_and_keep_their_memory(spark) -> None:
    names = list(WORKER_ENVIRONMENT)

    def read(_: object) -> list[tuple[str, str | None]]:
        return [(name, os.environ.get(name)) for name in names]

    seen = dict(spark.sparkContext.parallelize([0], 1).flatMap(read).collect())
    assert seen == WORKER_ENVIRONMENT
    assert spark.conf.get("spark.sql.session.timeZone") == "UTC"


MANY_SHAPES = """
import torch

torch.set_num_threads(1)
weight = torch.zeros(1152, 576, dtype=torch.bfloat16)


def multiply(rows):
    for count in rows:
        torch.nn.functional.linear(torch.zeros(count, 576, dtype=torch.bfloat16), weight)
    return int(open("/proc/self/statm").read().split()[1]) // 256


print(-multiply(range(1, 40)) + multiply(range(40, 640)))
"""


def test_workers_keep_nothing_for_every_batch_shape() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MANY_SHAPES], env=os.environ | WORKER_ENVIRONMENT, capture_output=True, check=True
    )
    assert int(done.stdout) < 60  # MiB; 319 on a machine with AMX where torch may keep its usual 1,024
