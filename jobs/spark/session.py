"""Creates the Spark session of a job; the only place for its configuration.

Under spark-submit (a DAG task) the master and resources of the submit command are used. Under ``moon nightly`` the
session is local. Python workers run one torch thread each and keep freed activation buffers up to a size
(docs/decisions/0020-worker-memory.md: returning all of them to the kernel costs a third of the rate).
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import JavaMissingError
from jobs.log_file import LOG_FILE
from jobs.parent_process import IS_SUBMITTED
from jobs.settings import REPOSITORY, Settings
from moon_model import CHECKPOINTS_VARIABLE

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "MALLOC_MMAP_THRESHOLD_": "8388608",
    "MALLOC_TRIM_THRESHOLD_": "2147483648",
    "MALLOC_ARENA_MAX": "2",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "8",
    "LRU_CACHE_CAPACITY": "16",
}
"""Environment of every Python worker. Each batch has a shape of its own: what oneDNN (the first capacity) and torch's
layer above it (the second; a quarter of a megabyte for every number of rows that met a bfloat16 weight) keep for a
thousand of them is hundreds of megabytes that no later batch uses, and freed blocks of ever other sizes leave holes in
the heap that no later block fits into; those of 8 MiB and more go back to the kernel
(`benchmarks/results/encode_speed.md`)."""


def _use_java() -> None:
    """Set Spark's Java to the one that ``make setup`` found or installed, which was checked, unlike JAVA_HOME."""
    own = REPOSITORY / ".java"
    if (own / "bin" / "java").exists():
        os.environ["JAVA_HOME"] = str(own)


@contextmanager
def open_spark_session(settings: Settings, name: str) -> Iterator["SparkSession"]:
    """Yield a Spark session and stop it afterwards.

    Args:
        settings: master and memory of a session that this process starts itself.
        name: the application's name in Spark's own pages.

    Raises:
        JavaMissingError: the JVM did not start.
    """
    from py4j.protocol import Py4JError  # noqa: PLC0415
    from pyspark.errors import PySparkRuntimeError  # noqa: PLC0415  (Spark is imported only where a job needs it)
    from pyspark.sql import SparkSession  # noqa: PLC0415

    _use_java()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
    builder = SparkSession.builder.appName(name)
    configuration = build_session_configuration(settings)
    for key, value in configuration.items():
        builder = builder.config(key, value)
    try:
        _start_java(configuration)
        session = builder.getOrCreate()
    except (PySparkRuntimeError, FileNotFoundError) as error:
        raise JavaMissingError(
            "Spark could not start Java 17 or newer: run `make setup`, or install Java and set JAVA_HOME. What Java "
            f"said: {LOG_FILE.path or 'above'}"
        ) from error
    _set_log_levels(session)
    try:
        yield session
    finally:
        with suppress(Py4JError, OSError):  # its Java process may have ended before it
            session.stop()


def _start_java(configuration: Mapping[str, str]) -> None:
    """Start the JVM with its output, and that of its Python workers, in the log file of a `moon` command.

    Under spark-submit the JVM is this process's parent. Where no log file is in use, Spark starts the JVM itself.
    """
    from pyspark import SparkConf, SparkContext  # noqa: PLC0415
    from pyspark.java_gateway import launch_gateway  # noqa: PLC0415

    if IS_SUBMITTED in os.environ or not LOG_FILE.is_used or SparkContext._gateway is not None:
        return
    output = LOG_FILE.open_output() or subprocess.DEVNULL
    gateway: Any = launch_gateway(  # type: ignore[no-untyped-call]
        SparkConf(loadDefaults=False).setAll(list(configuration.items())), {"stdout": output, "stderr": output}
    )
    SparkContext._ensure_initialized(gateway=gateway)


def _set_log_levels(session: "SparkSession") -> None:
    """Log errors only; those of tasks not at all under spark-submit, because they are tracebacks.

    The driver writes the error that ended a task to the log file, and its last line to the log of the submit.
    """
    session.sparkContext.setLogLevel("ERROR")
    if IS_SUBMITTED in os.environ:
        log4j: Any = session._jvm.org.apache.logging.log4j  # type: ignore[union-attr]
        for name in ("executor.Executor", "scheduler.TaskSetManager"):
            log4j.core.config.Configurator.setLevel(f"org.apache.spark.{name}", log4j.Level.OFF)


def build_session_configuration(settings: Settings) -> dict[str, str]:
    """Return the Spark configuration of a job."""
    from jobs.lake.storage import Storage  # noqa: PLC0415  (pyarrow: too slow for a DAG file that imports this module)

    configuration = {
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "512",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.adaptive.enabled": "true",
        # A night compiles 150 classes. Of the 100 that Spark keeps by default none is left for the next night.
        "spark.sql.codegen.cache.maxEntries": "2000",
        "spark.sql.parquet.enableVectorizedReader": "true",
        "spark.speculation": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.python.worker.reuse": "true",
        **{f"spark.executorEnv.{key}": value for key, value in WORKER_ENVIRONMENT.items()},
    }
    if checkpoints := os.environ.get(CHECKPOINTS_VARIABLE):
        configuration[f"spark.executorEnv.{CHECKPOINTS_VARIABLE}"] = checkpoints
    is_local = Storage(settings.lake).is_local
    if not is_local:
        # Spark does not know the size of data that tasks read themselves (`jobs.lake.reading`) and would broadcast it
        # as small; adaptive execution decides after the rows are read.
        configuration |= {
            "spark.sql.autoBroadcastJoinThreshold": "-1",
            "spark.sql.adaptive.autoBroadcastJoinThreshold": "10MB",
        }
    if "SPARK_ENV_LOADED" not in os.environ:  # not under spark-submit: this process configures the master
        configuration |= {
            "spark.master": settings.spark_master,
            "spark.driver.memory": settings.spark_memory,
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.ui.enabled": "false",
            "spark.sql.shuffle.partitions": "8",
            # Each broadcast table takes a page at least: by default 64 MB of a heap of 2 GB, for a hundred rows too.
            "spark.buffer.pageSize": "1m",
            # A local run has dozens of small Spark jobs, which end before the JVM's second compiler pays off.
            # With one compiler the JVM reserves 48 MB for compiled code; once full, it interprets all that follows.
            "spark.driver.extraJavaOptions": (
                "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:ReservedCodeCacheSize=256m"
            ),
        }
        if is_local:
            configuration["spark.sql.warehouse.dir"] = str(Path(settings.lake).parent / "spark-warehouse")
    return configuration
