"""A Spark standalone cluster of the pip package for the tests: a master and workers on loopback, stopped at the end.

The wheel has no start scripts, so the daemons' classes are run directly. Each worker has one GPU that a discovery
script of the test simulates: Spark schedules it like a real one.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pyspark

REPOSITORY = Path(__file__).resolve().parents[1]
SPARK = Path(pyspark.__file__).parent
START_SECONDS = 300  # on a crowded machine; else six
SMALL_JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""Options for short processes: they end before the JVM's second compiler makes them faster."""
WORKER_MEMORY = "1g"


@dataclass(frozen=True)
class Cluster:
    """A running cluster.

    Attributes:
        master: its address, ``spark://127.0.0.1:PORT``.
        folder: logs of the daemons; ``worker-N`` holds what worker N keeps of its executors.
    """

    master: str
    folder: Path

    def submit(
        self,
        application: Path,
        arguments: Sequence[str],
        *,
        settings: Mapping[str, str],
        conf: Mapping[str, str] | None = None,
        python: Path = Path(sys.executable),
        options: Sequence[str] = (),
        seconds: float = 1200,
    ) -> subprocess.CompletedProcess[str]:
        """Run spark-submit in a folder of its own and wait for it; stdout also has what the driver logs.

        Args:
            application, arguments: the file to submit and its command line.
            settings: ``MOON_*`` variables of the driver; no other of them is seen.
            conf: Spark settings besides loopback and the executors' size.
            python: interpreter of the driver, and of the executors unless ``conf`` says otherwise.
            options: further options of spark-submit.
            seconds: longer, and it is killed.
        """
        configuration = {
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.memory": "640m",
            "spark.driver.extraJavaOptions": SMALL_JVM,
            "spark.executor.memory": "512m",
            "spark.executor.extraJavaOptions": SMALL_JVM,
            "spark.executor.resource.gpu.amount": "1",
            "spark.ui.enabled": "false",
            "spark.sql.shuffle.partitions": "2",
            **(conf or {}),
        }
        command = [str(SPARK / "bin" / "spark-submit"), "--master", self.master, *options]
        command += [part for key, value in configuration.items() for part in ("--conf", f"{key}={value}")]
        command += [str(application), *arguments]
        place = self.folder / "driver"
        place.mkdir(exist_ok=True)
        environment = {name: value for name, value in _environment().items() if not name.startswith("MOON_")}
        environment |= {"PYSPARK_PYTHON": str(python), "PYSPARK_DRIVER_PYTHON": str(python), **settings}
        return subprocess.run(
            command, cwd=place, env=environment, check=False, capture_output=True, text=True, timeout=seconds
        )

    def executor_logs(self) -> list[str]:
        """Return what the executors of each worker wrote to stderr, a text a worker."""
        workers = sorted(self.folder.glob("worker-*/"))
        return ["\n".join(log.read_text() for log in sorted(place.glob("*/*/stderr"))) for place in workers]


@contextmanager
def spark_cluster(folder: Path, gpus: Sequence[str] = ("0", "1"), cores: int = 2) -> Iterator[Cluster]:
    """Yield a cluster with a worker for each GPU address, all registered."""
    daemons: list[subprocess.Popen[bytes]] = []
    place = ["--host", "127.0.0.1", "--port", "0", "--webui-port", "0"]
    try:
        master = _start(daemons, folder / "master", "master.Master", place)
        address = _wait_for(master, folder / "master.log", r"Starting Spark master at (spark://\S+)")
        for number, gpu in enumerate(gpus):
            work = folder / f"worker-{number}"
            size = ["--cores", str(cores), "--memory", WORKER_MEMORY, "--work-dir", str(work)]
            _start(daemons, work, "worker.Worker", [*place, *size, address], _gpu_option(folder, number, gpu))
        for number, worker in enumerate(daemons[1:]):
            _wait_for(worker, folder / f"worker-{number}.log", r"(Successfully registered with master)")
        yield Cluster(address, folder)
    finally:
        for daemon in reversed(daemons):
            _stop(daemon)


def event_log(folder: Path, kind: str) -> list[dict[str, object]]:
    """Return the events of one kind out of the one event log in a folder."""
    (log,) = folder.iterdir()
    with log.open() as lines:  # by line feeds: texts of products hold other separators
        events = [json.loads(line) for line in lines]
    return [event for event in events if event["Event"] == kind]


def _environment() -> dict[str, str]:
    java = REPOSITORY / ".java"
    home = {"JAVA_HOME": str(java)} if (java / "bin" / "java").exists() else {}
    spark = {"SPARK_HOME": str(SPARK), "SPARK_LOCAL_IP": "127.0.0.1"}
    spark |= {"PYTHONDONTWRITEBYTECODE": ""}  # a test tells by its caches where code was imported from
    spark |= {"SPARK_DAEMON_MEMORY": "256m", "SPARK_DAEMON_JAVA_OPTS": SMALL_JVM}
    return os.environ | spark | home


def _gpu_option(folder: Path, number: int, address: str) -> str:
    """Write a discovery script that simulates a GPU; return the worker's options for it."""
    script = folder / f"discover-{number}.sh"
    script.write_text(f"#!/bin/sh\necho '{json.dumps({'name': 'gpu', 'addresses': [address]})}'\n")
    script.chmod(0o755)
    return f"-Dspark.worker.resource.gpu.amount=1 -Dspark.worker.resource.gpu.discoveryScript={script}"


def _start(
    daemons: list[subprocess.Popen[bytes]], place: Path, name: str, arguments: Sequence[str], options: str = ""
) -> subprocess.Popen[bytes]:
    """Start a daemon in a process group of its own; its log is ``<place>.log``."""
    command = [str(SPARK / "bin" / "spark-class"), f"org.apache.spark.deploy.{name}", *arguments]
    environment = _environment() | {"SPARK_WORKER_OPTS": options, "PYSPARK_PYTHON": sys.executable}
    with place.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    daemons.append(process)
    return process


def _wait_for(process: subprocess.Popen[bytes], log: Path, pattern: str) -> str:
    """Return the pattern's group once the daemon's log shows it."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if found := re.search(pattern, log.read_text()):
            return found.group(1)
        if process.poll() is not None:
            break
        time.sleep(0.2)
    raise RuntimeError(f"a Spark daemon did not start; the end of {log}:\n{log.read_text()[-2000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Send TERM, so that a worker ends its executors, then KILL to the rest of the process group."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(15)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
