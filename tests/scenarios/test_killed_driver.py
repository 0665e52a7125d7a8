"""Tests that Spark's JVM and Python workers end within ten seconds after a driver was killed (SIGKILL)."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.spark_cluster import SPARK, spark_cluster

END_SECONDS = 10
START_SECONDS = 180  # on a crowded machine; else ten
APPLICATION = """
import os, sys, time
from pathlib import Path
from jobs.settings import Settings
from jobs.spark.session import open_spark_session

folder = sys.argv[1]

def work(batches):
    for batch in batches:
        Path(folder, f"worker-{os.getpid()}").touch()
        end = time.monotonic() + 300
        while time.monotonic() < end:
            sum(range(1_000_000))
        yield batch

with open_spark_session(Settings(_env_file=None, lake=f"{folder}/lake", spark_memory="512m"), "killed") as spark:
    spark.range(2, numPartitions=2).mapInArrow(work, "id long").collect()
"""

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the application in a process group of its own: by Python itself, or by spark-submit on a master."""
    application = tmp_path / "application.py"
    application.write_text(APPLICATION)
    started: list[subprocess.Popen[bytes]] = []

    def begin(master: str = "") -> subprocess.Popen[bytes]:
        size = {"driver.host": "127.0.0.1", "driver.bindAddress": "127.0.0.1", "executor.memory": "512m"}
        conf = [part for key, value in size.items() for part in ("--conf", f"spark.{key}={value}")]
        submit = [str(SPARK / "bin" / "spark-submit"), "--master", master, *conf]
        command = [*(submit if master else [sys.executable]), str(application), str(tmp_path)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MOON_")}
        environment |= {"SPARK_HOME": str(SPARK), "PYSPARK_PYTHON": sys.executable}
        environment |= {"PYSPARK_DRIVER_PYTHON": sys.executable, "PYTHONPATH": str(Path.cwd())}
        with (tmp_path / "output").open("wb") as output:
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def wait_for_workers(tmp_path: Path, number: int = 2) -> list[psutil.Process]:
    """Return the Python workers once they work."""
    deadline = time.monotonic() + START_SECONDS
    while len(found := sorted(tmp_path.glob("worker-*"))) < number:
        assert time.monotonic() < deadline, (tmp_path / "output").read_text()[-3000:]
        time.sleep(0.2)
    return [psutil.Process(int(path.name.partition("-")[2])) for path in found]


def wait_for_end(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=END_SECONDS)
    left = [process for process in alive if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    for process in left:
        process.kill()
    assert left == []


@pytest.mark.parametrize("whole_group", [False, True], ids=["driver", "group"])
def test_a_driver_that_started_spark_itself(start: Start, tmp_path: Path, *, whole_group: bool) -> None:
    driver = start()
    workers = wait_for_workers(tmp_path)
    below = psutil.Process(driver.pid).children(recursive=True)
    assert {worker.pid for worker in workers} < {process.pid for process in below}
    (os.killpg if whole_group else os.kill)(driver.pid, signal.SIGKILL)
    wait_for_end(below)


@pytest.mark.parametrize("which", ["java", "python"])
def test_either_part_of_a_submitted_driver(start: Start, tmp_path: Path, which: str) -> None:
    submitted = start("local[2]")
    wait_for_workers(tmp_path)
    java = psutil.Process(submitted.pid)
    below = java.children(recursive=True)
    running = [process for process in java.children() if process.status() != psutil.STATUS_ZOMBIE]
    (python,) = (process for process in running if str(tmp_path / "application.py") in process.cmdline())
    (java if which == "java" else python).kill()
    wait_for_end(below)


def test_the_executors_of_a_cluster(start: Start, tmp_path: Path) -> None:
    (tmp_path / "cluster").mkdir()
    with spark_cluster(tmp_path / "cluster", gpus=("0",)) as cluster:
        submitted = start(cluster.master)
        workers = wait_for_workers(tmp_path)
        executors = [worker.parent() for worker in workers]
        os.kill(submitted.pid, signal.SIGKILL)
        wait_for_end([*workers, *(process for process in executors if process is not None)])
