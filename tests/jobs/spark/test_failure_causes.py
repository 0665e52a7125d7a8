"""Tests of the explanation of failures by evidence: damaged files, a Java process that died, anything else."""

import subprocess
import sys
from collections.abc import Callable
from copy import copy
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.errors import EXIT_FAULT, DamageError, JavaDiedError, MoonError, NightStoppedError
from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.spark.failure_causes import explain_failures
from tests.jobs.lake.test_checking import cut


@pytest.fixture
def lake(tmp_path: Path, seed: Callable[..., None]) -> Lake:
    found = Lake(Storage(str(tmp_path / "lake")))
    seed(found, "served", [{"product_id": "p", "op": "upsert", "epoch": 1}], {"collection": "c"})
    return found


def raise_error(error: Exception, cause: Exception | None = None) -> None:
    raise error from cause


@pytest.mark.parametrize(
    ("error", "cause"),
    [(pa.ArrowInvalid("no magic bytes"), None), (MoonError("the catalogue failed"), OSError("end of file"))],
)
def test_a_failed_read_is_explained_by_the_damaged_file(lake: Lake, error: Exception, cause: Exception | None) -> None:
    with pytest.raises(type(error)), explain_failures(lake.storage):
        raise_error(copy(error), cause)
    cut(next(Path(lake.storage.uri("served")).rglob("*.parquet")))
    with pytest.raises(DamageError, match="served/collection=c/part-"), explain_failures(lake.storage):
        raise_error(copy(error), cause)


def test_a_failure_inside_of_two_blocks_is_looked_into_once(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Storage] = []
    monkeypatch.setattr("jobs.spark.failure_causes.find_lake_damage", looks.append)
    with pytest.raises(OSError, match="x"), explain_failures(lake.storage), explain_failures(lake.storage):
        raise_error(OSError("x"))
    assert looks == [lake.storage]


def test_errors_that_say_what_happened_stay(lake: Lake) -> None:
    cut(next(Path(lake.storage.uri("served")).rglob("*.parquet")))
    for error in (NightStoppedError("the gate is closed"), ValueError("a defect of ours")):
        with pytest.raises(type(error)), explain_failures(lake.storage):
            raise_error(error, OSError("x"))


KILL_JAVA = """
import os, signal, sys
from pyspark import SparkContext
from jobs.cli import start_logging
from jobs.commands.session import open_context
from jobs.errors import MoonError
from jobs.settings import Settings

start_logging()
try:
    with open_context(Settings(_env_file=None, lake=sys.argv[1], spark_memory="1g"), "test") as context:
        os.kill(SparkContext._gateway.proc.pid, signal.SIGKILL)
        context.spark.range(3).count()
except MoonError as error:
    print(type(error).__name__, error.exit_status)
"""


@pytest.mark.faults
def test_a_killed_java_process_ends_in_one_message(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILL_JAVA, str(tmp_path / "lake")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout.split() == [JavaDiedError.__name__, str(EXIT_FAULT)], done.stderr
    assert "Traceback" not in done.stderr.partition("NativeCodeLoader")[2]
