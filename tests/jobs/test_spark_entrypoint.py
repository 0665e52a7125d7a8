"""Tests of the file that a DAG task submits, with the real spark-submit: retries depend on the exit status."""

import os
import subprocess
import sys
from pathlib import Path

import pyspark
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def submit(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    binary = Path(pyspark.__file__).parent / "bin" / "spark-submit"
    command = [str(binary), "--master", "local[1]", str(REPOSITORY / "jobs" / script), *arguments]
    environment = os.environ | {"PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable}
    if (REPOSITORY / ".java/bin/java").exists():
        environment["JAVA_HOME"] = str(REPOSITORY / ".java")
    return subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("script", ["spark_entrypoint.py", "submit.py"])
def test_a_refused_command_line_ends_with_2_through_spark_submit(script):
    answer = submit(script, "prepare", "--date=yesterday")
    assert answer.returncode == 2, answer.stderr[-2000:]
    assert "yesterday" in answer.stdout + answer.stderr
