"""Tests of the sentence of an unexpected failure: full and read-only disks, wrong paths, stores, and our own faults."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake.exceptions import DeltaError

from jobs.commands.failures import describe_failure, find_fault, find_wrong_path, is_system_failure
from jobs.errors import EXIT_FAULT, EXIT_USAGE
from jobs.settings import Settings

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(autouse=True)
def settings(make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> Settings:
    made = make_settings()
    monkeypatch.setattr(Settings, "in_use", made)
    return made


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own of 300 KB, which `grow` makes larger."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this user cannot mount a disk")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def set_mount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def moon(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MOON_")}
    return subprocess.run(
        [sys.executable, "-m", "jobs.cli", *arguments],
        capture_output=True, text=True, timeout=500, check=False, env={**kept, **environment},
    )  # fmt: skip


def read_served(out: Path, settings: dict[str, str]) -> list[dict[str, object]]:
    """Return the exported collection, vectors included, in the order of ids."""
    done = moon("export", f"--out={out}", **settings)
    assert done.returncode == 0, done.stderr
    return sorted(pq.read_table(out).to_pylist(), key=lambda row: row["product_id"])


def read_refused(settings: dict[str, str]) -> list[tuple[object, ...]]:
    """Return the refused rows and images with their reasons."""
    rows = json.loads(moon("quarantine", "--json", **settings).stdout)
    return sorted((str(row["source_row"]), str(row["image_index"]), row["reason"]) for row in rows)


def fill_disk(folder: Path) -> None:
    with pytest.raises(OSError, match="No space"), (folder / "filler").open("wb") as file:
        while True:
            file.write(bytes(4096))
            file.flush()


def test_a_full_disk_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs(settings.lake.rpartition("/")[0])
    fields = list(real)
    fields[4] = 1  # f_bavail
    monkeypatch.setattr("os.statvfs", lambda path: os.statvfs_result(fields))
    message, status = describe_failure(DeltaError("Generic LocalFileSystem error"))
    assert f"the disk of the lake {settings.lake} is full" in message
    assert status == EXIT_FAULT


def test_a_read_only_file_system_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs("/")
    monkeypatch.setattr("os.statvfs", lambda path: os.statvfs_result([*list(real)[:8], os.ST_RDONLY, real[9]]))
    assert "read-only" in str(find_fault("the lake", Path(settings.lake)))


def test_a_path_below_a_file_is_a_wrong_setting(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "lake").touch()
    message, status = describe_failure(NotADirectoryError(errno.ENOTDIR, "Not a directory"))
    assert f"{settings.lake} cannot be a folder" in message and "Name another path" in message
    assert status == EXIT_USAGE
    assert find_wrong_path("the lake", tmp_path / "new" / "lake") is None


def test_a_store_that_refuses_is_named_in_one_line(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Settings, "in_use", make_settings(lake="s3://lake/a", milvus="http://127.0.0.1:1"))
    message, status = describe_failure(OSError("Kernel error -> Generic S3 error\n \x1b[31m↳\x1b[0m Access denied"))
    assert "the object store of the lake s3://lake/a" in message and "Access denied" in message
    assert "\n" not in message and "\x1b" not in message
    assert status == EXIT_FAULT


def test_a_fault_of_our_code_is_none_of_a_disk(settings: Settings) -> None:
    try:
        {}["missing"]
    except KeyError as error:
        message, status = describe_failure(error)
    assert "KeyError: 'missing'" in message and "report it" in message
    assert status == EXIT_FAULT


def test_the_cause_of_a_failure_counts() -> None:
    failure = ValueError("the lake")
    assert not is_system_failure(failure)
    failure.__cause__ = FULL
    assert is_system_failure(failure)
    assert is_system_failure(pa.ArrowInvalid("a file"))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MOON_SPARK_MEMORY", "lots"),
        ("MOON_LAKE_STORAGE_OPTIONS", "{"),
        ("MOON_LAKE", "/dev/null"),
    ],
)
def test_a_broken_setting_is_one_sentence(variable: str, value: str, tmp_path: Path) -> None:
    done = moon("status", **{"MOON_LOG": str(tmp_path / "moon.log"), variable: value})
    assert done.returncode == EXIT_USAGE
    assert done.stdout == "" and done.stderr.count("\n") == 1 and done.stderr.startswith("moon: ")


@pytest.mark.faults
def test_a_lake_on_a_full_or_read_only_disk(small_disk: Path, tmp_path: Path) -> None:
    """Each group ends with one sentence; the same commands on a disk with room end like a run that met no fault."""
    date = "2026-03-01"
    drawn = moon("demo-catalog", f"--out={tmp_path}/cat", "--products=8", "--days=1", f"--start={date}", "--seed=5")
    assert drawn.returncode == 0, drawn.stderr
    settings = {
        "MOON_CATALOG": f"{tmp_path}/cat/{{date}}/catalog.jsonl",
        "MOON_MAPPING": f"{tmp_path}/cat/mapping.toml",
        "MOON_MILVUS": str(tmp_path / "milvus.db"),
        "MOON_LOG": str(tmp_path / "moon.log"),
        "MOON_SPARK_MEMORY": "1g",
    }
    there = {**settings, "MOON_LAKE": str(small_disk / "lake")}

    def fail(group: str, words: str) -> None:
        done = moon(group, "--date", date, **there)
        last = done.stderr.splitlines()[-1]
        assert done.returncode == EXIT_FAULT, done.stderr
        assert last.startswith("moon: ") and words in last
        assert "Traceback" not in done.stderr and "\tat " not in done.stderr
        assert [line for line in done.stderr.splitlines()[:-1] if " INFO " not in line] == []

    fail("prepare", "is full")
    assert "Traceback" in (tmp_path / "moon.log").read_text()
    set_mount(small_disk, "size=200m")
    assert moon("prepare", "--date", date, **there).returncode == 0
    set_mount(small_disk, "ro")
    fail("infer", "read-only")
    set_mount(small_disk, "rw")
    assert moon("infer", "--date", date, **there).returncode == 0
    used = shutil.disk_usage(small_disk).used
    set_mount(small_disk, f"size={used + 8192}")
    fill_disk(small_disk)
    fail("serve", "is full")
    (small_disk / "filler").unlink()
    set_mount(small_disk, "size=200m")
    assert moon("serve", "--date", date, **there).returncode == 0
    clean = {**settings, "MOON_MILVUS": str(tmp_path / "clean.db"), "MOON_LAKE": str(tmp_path / "clean")}
    assert moon("nightly", "--date", date, **clean).returncode == 0
    assert read_served(tmp_path / "after.parquet", there) == read_served(tmp_path / "clean.parquet", clean)
    assert moon("status", **there).returncode == 0
    assert read_refused(there) == read_refused(clean)
