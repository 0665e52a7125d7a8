"""Tests of the set-up on a small environment: a real venv, real pip, a locally built wheel, no network."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import setup_env
from find_python import SetupError
from setup_env import Environment

REPOSITORY = Path(__file__).resolve().parents[2]


def make_wheel(folder: Path, name: str, version: str) -> None:
    info = f"{name}-{version}.dist-info"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", f"version = {version!r}\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with two environments in one folder, and an index of three wheels."""
    for name, version in (("moonone", "1.0"), ("moonone", "1.1"), ("moontwo", "2.0"), ("moongpu", "1.0")):
        make_wheel(tmp_path / "wheels", name, version)
    root = tmp_path / "repository"
    (root / "requirements").mkdir(parents=True)
    (root / "pyproject.toml").write_text("[project]\n")
    write_lock(root, "jobs", "moonone==1.0  # via here")
    write_lock(root, "jobs-gpu", "moongpu==1.0")
    write_lock(root, "dev", "moontwo==2.0")
    monkeypatch.setattr(setup_env, "REPOSITORY", root)
    small = {
        "jobs": Environment(".venv", ("jobs.lock",), 0.01, "path"),
        "dev": Environment(".venv", ("jobs.lock", "dev.lock"), 0.01, "path"),
    }
    monkeypatch.setattr(setup_env, "ENVIRONMENTS", small)
    for variable in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    return root


def write_lock(root: Path, name: str, text: str) -> None:
    (root / "requirements" / f"{name}.lock").write_text(f"{text}\n")


def inside(root: Path, code: str) -> str:
    python = str(root / ".venv/bin/python")
    return subprocess.run([python, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout.strip()


def installed(root: Path) -> set[str]:
    listing = "import importlib.metadata as m; print(*(d.name + d.version for d in m.distributions()))"
    return {name for name in inside(root, listing).split() if name.startswith("moon")}


def setup(name: str = "jobs", gpu: bool = False) -> bool:
    return setup_env.setup_environment(name, gpu, sys.executable)


@pytest.mark.long
def test_it_builds_once_then_only_what_changed(repository, monkeypatch):
    assert setup()
    assert installed(repository) == {"moonone1.0"}
    assert inside(repository, f"import sys; print({str(repository)!r} in sys.path)") == "True"

    with monkeypatch.context() as patch:
        patch.setattr(setup_env, "run", None)  # calling pip would fail now
        assert not setup()

    marker = repository / ".venv" / "kept"
    marker.touch()
    write_lock(repository, "jobs", "moonone==1.1")
    assert setup()
    assert installed(repository) == {"moonone1.1"}
    assert marker.exists(), "a changed lock completes the environment, it does not rebuild it"

    assert setup("dev")
    assert installed(repository) == {"moonone1.1", "moontwo2.0"}
    assert not setup("jobs"), "the tests' packages stay when only the jobs are asked for"

    assert setup("jobs", gpu=True)
    assert installed(repository) == {"moongpu1.0", "moontwo2.0"}, "both ONNX Runtimes would write one folder"
    assert not setup("jobs"), "a GPU environment stays one"


@pytest.mark.long
def test_an_unfinished_build_is_taken_up_again(repository):
    assert setup()
    stamp = repository / ".venv" / setup_env.STAMP
    recorded = json.loads(stamp.read_text())
    write_lock(repository, "jobs", "nowhere==1.0")
    with pytest.raises(SetupError, match="a pinned package is not available"):
        setup()
    assert not stamp.exists(), "a failed build must not look finished"
    write_lock(repository, "jobs", "moonone==1.0  # via here")
    assert setup()
    assert json.loads(stamp.read_text()) == recorded


@pytest.mark.long
def test_an_environment_whose_python_is_gone_is_rebuilt(repository):
    assert setup()
    python = repository / ".venv/bin/python"
    python.unlink()
    python.symlink_to("/no/longer/there")
    assert setup()
    assert installed(repository) == {"moonone1.0"}


@pytest.mark.long
def test_an_environment_of_another_python_is_rebuilt(repository):
    assert setup()
    configuration = repository / ".venv/pyvenv.cfg"
    configuration.write_text(configuration.read_text().replace(f"version = {sys.version_info[0]}.", "version = 2."))
    marker = repository / ".venv" / "old"
    marker.touch()
    assert setup()
    assert not marker.exists()


@pytest.mark.long
def test_a_repository_that_was_moved_gets_a_new_environment(repository, monkeypatch):
    assert setup()
    moved = repository.rename(repository.with_name("moved"))
    monkeypatch.setattr(setup_env, "REPOSITORY", moved)
    marker = moved / ".venv" / "old"
    marker.touch()
    assert setup()
    assert not marker.exists()
    assert inside(moved, f"import sys; print({str(moved)!r} in sys.path)") == "True"


def test_no_network(repository, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(SetupError, match="pip could not reach its package index") as caught:
        setup()
    assert "check the network" in caught.value.remedy


def test_too_little_disk(repository, monkeypatch):
    monkeypatch.setattr(setup_env.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 2**20))
    with pytest.raises(SetupError, match=r"0\.0 GiB of disk are needed under .*, 0\.0 GiB are free") as caught:
        setup()
    assert "make distclean" in caught.value.remedy
    assert not (repository / ".venv").exists(), "checked before anything is written"


def test_a_full_disk_while_pip_unpacks(repository, program):
    pip = program("pip", "echo 'ERROR: Could not install packages due to an OSError: [Errno 28] No space left'; exit 1")
    with pytest.raises(SetupError, match="the disk is full") as caught:
        setup_env.run([str(pip)], 1, ".venv")
    assert "TMPDIR" in caught.value.remedy


def test_any_other_failure_shows_what_pip_said(program):
    pip = program("pip", "echo 'ERROR: something new'; exit 1")
    with pytest.raises(SetupError, match="something new"):
        setup_env.run([str(pip)], 1, ".venv")


@pytest.mark.parametrize(
    ("line", "collected", "words"),
    [
        ("Collecting torch==2.13.0", 40, "40 of 92 packages"),
        ("Collecting torch==2.13.0", 41, ""),
        ("  Downloading pyspark-4.3.0.tar.gz (434.2 MB)", 3, "downloading pyspark-4.3.0 (434 MB)"),
        (
            "  Downloading pyarrow-26.0.1-cp311-cp311-manylinux_2_28_x86_64.whl (54.6 MB)",
            3,
            "downloading pyarrow-26.0.1 (55 MB)",
        ),
        ("  Downloading rich-15.0.0-py3-none-any.whl (0.3 MB)", 3, ""),
        ("Installing collected packages: a, b", 92, "unpacking; the longest part, no output for a minute"),
    ],
)
def test_progress_in_words(line, collected, words):
    assert setup_env.describe(line, collected, 92) == words


def run_script(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script as `make` does, in a copy of the repository without environments."""
    for folder in ("scripts", "requirements"):
        shutil.copytree(REPOSITORY / folder, root / folder, dirs_exist_ok=True)
    shutil.copy(REPOSITORY / "pyproject.toml", root)
    command = [sys.executable, str(root / "scripts/setup_env.py"), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_the_command_ends_with_error_and_remedy(tmp_path, program):
    old = program("old", "echo 3.8.1 -")
    answer = run_script(tmp_path / "clone", "jobs", "--python", str(old))
    assert answer.returncode == 1
    assert (
        f"setup: error: PYTHON={old} is no Python 3.11 or 3.12; found 3.8.1 at {old}\n  try: install" in answer.stderr
    )
    assert "Traceback" not in answer.stderr


def test_the_command_refuses_a_name_it_does_not_know(tmp_path):
    answer = run_script(tmp_path / "clone", "job")
    assert answer.returncode == 2
    assert "unknown: job; known: jobs, dev, airflow, train, java" in answer.stderr
