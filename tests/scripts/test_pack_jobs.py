"""Tests that the archives work where our code is not installed, and in any folder."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pack_jobs
import pytest

from tests.bare_environment import bare_environment


def run(python: Path, program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(python), "-c", program], capture_output=True, text=True, check=False, env=variables, cwd="/"
    )


def test_the_code_runs_from_its_archive_alone(tmp_path):
    python = bare_environment(tmp_path / "environment")
    assert "No module named 'jobs'" in run(python, "import jobs").stderr
    shutil.unpack_archive(pack_jobs.pack_code(tmp_path / "moon-jobs.zip"), tmp_path / "copy")
    program = (
        "import jobs.datasets.demo_catalog, jobs.stages.encode_task, jobs.stages.report, jobs.settings, jinja2\n"
        "from jobs.state.model_registry import describe_checkpoint\n"
        "assert jinja2.PackageLoader('jobs.pages').list_templates()\n"
        "print(jobs.settings.REPOSITORY, describe_checkpoint(None).uri)"
    )
    answer = run(python, program, PYTHONPATH=str(tmp_path / "copy"))
    assert answer.stdout.split() == [str(tmp_path / "copy"), str(tmp_path / "copy/checkpoints/moon-tiny")], (
        answer.stderr
    )


def test_the_archive_is_the_same_twice_and_has_no_caches_and_no_settings(tmp_path):
    first, second = (pack_jobs.pack_code(tmp_path / name) for name in ("a.zip", "b.zip"))
    assert first.read_bytes() == second.read_bytes()
    names = zipfile.ZipFile(first).namelist()
    assert not [name for name in names if "__pycache__" in name or ".env" in name]
    assert "jobs/spark_entrypoint.py" in names


def test_an_environment_works_where_it_is_unpacked(tmp_path):
    bare_environment(tmp_path / "built")
    (packages,) = (tmp_path / "built").glob("lib/python3.*/site-packages")
    for name in ("mine/__init__.py", "pyspark/jars/big.jar", "__editable__.moon.pth", "moon_nightly-0.1.dist-info/R"):
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text("")
    interpreter = Path(sys.executable).resolve()
    archive = pack_jobs.pack_environment(tmp_path / "e.tar.gz", tmp_path / "built", interpreter)
    shutil.rmtree(tmp_path / "built")
    with tarfile.open(archive) as packed:
        assert not [name for name in packed.getnames() if "jars" in name or "__editable__" in name or "moon" in name]
        packed.extractall(tmp_path / "elsewhere", filter="tar")
    answer = run(tmp_path / "elsewhere" / "bin" / "python", "import mine, sys; print(sys.prefix)")
    assert answer.stdout.strip() == str(tmp_path / "elsewhere"), answer.stderr


def test_no_environment_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="make setup"):
        pack_jobs.pack_environment(tmp_path / "e.tar.gz", tmp_path, Path(sys.executable))


def test_the_command_prints_the_options(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pack_jobs.py", "--out", str(tmp_path)])
    pack_jobs.main()
    options = capsys.readouterr().out.split()
    assert options[:2] == ["--archives", f"{tmp_path}/moon-jobs.zip#moon"]
    assert (tmp_path / "moon-jobs.zip").is_file()
