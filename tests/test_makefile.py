"""Tests of the Makefile that build nothing."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
MAKE = shutil.which("make")
pytestmark = pytest.mark.skipif(MAKE is None, reason="make is not installed")


def make(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = None if path is None else {"PATH": path}
    return subprocess.run(
        [MAKE, *arguments], check=False, cwd=REPOSITORY, env=environment, capture_output=True, text=True
    )


def test_make_alone_lists_the_targets_of_the_readme():
    answer = make()
    listed = {line.split()[0] for line in answer.stdout.splitlines()}
    assert listed >= {
        "help",
        "setup",
        "nightly",
        "test",
        "test-all",
        "test-faults",
        "test-soak",
        "lint",
        "format",
        "bench",
        "lock",
        "clean",
    }
    assert set(re.findall(r"(?m)^make ([a-z-]+)", (REPOSITORY / "README.md").read_text())) <= listed


def test_ci_runs_the_readmes_test_command_and_only_targets_that_exist():
    steps = re.findall(r"(?m)^step (\S+)", (REPOSITORY / ".ci" / "run").read_text())
    assert "test" in steps
    for step in steps:
        answer = make("--dry-run", step)
        assert answer.returncode == 0, answer.stderr


def test_without_any_python_it_says_what_to_install(tmp_path):
    answer = make("setup", path=str(tmp_path))
    assert answer.returncode != 0
    assert "no Python 3 found: install Python 3.11" in answer.stderr


@pytest.mark.parametrize("tests", [".venv/bin/python -m pytest", ".venv-airflow/bin/python -m pytest tests/dags"])
def test_what_one_set_leaves_out_another_runs(tests):
    sets = {target: make("--dry-run", target).stdout for target in ("test", "test-long", "test-all")}
    assert re.search(rf"(?m)^{re.escape(tests)}.* -m \"not long", sets["test"])
    assert re.search(rf"(?m)^{re.escape(tests)}.* -m \"?long", sets["test-long"])
    assert set(sets["test"].splitlines()) | set(sets["test-long"].splitlines()) == set(sets["test-all"].splitlines())
