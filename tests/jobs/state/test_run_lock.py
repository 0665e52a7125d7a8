"""Tests of the lock by which one process of a machine computes a run at a time."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import jobs.state.run_lock
from jobs.lake.storage import Storage
from jobs.state.run_lock import find_lock_file, hold_run_lock

HOLDER = """
import sys, tempfile, time
from jobs.lake.storage import Storage
from jobs.state.run_lock import hold_run_lock
tempfile.tempdir = sys.argv[2]
with hold_run_lock(Storage(sys.argv[1]), "run"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(jobs.state.run_lock, "LOCK_POLL_SECONDS", 0.05)
    return Storage(str(tmp_path / "lake"))


@pytest.fixture
def holder(storage: Storage, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of the run."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, storage.root, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_the_second_waits_for_a_process_that_is_killed_and_says_so(
    storage: Storage, holder: subprocess.Popen[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    held = threading.Event()

    def take() -> None:
        with hold_run_lock(storage, "run"):
            held.set()

    thread = threading.Thread(target=take)
    thread.start()
    assert not held.wait(0.5)
    holder.send_signal(signal.SIGKILL)
    assert held.wait(10)
    thread.join()
    assert f"waiting for process {holder.pid}" in caplog.text


def test_another_run_and_another_lake_do_not_wait(
    storage: Storage, holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    with hold_run_lock(storage, "other"), hold_run_lock(Storage(str(tmp_path / "lake2")), "run"):
        assert holder.poll() is None


def test_nothing_is_left_after_it(storage: Storage) -> None:
    for _ in range(2):
        with hold_run_lock(storage, "run"):
            assert find_lock_file(storage, "run").exists()
        assert not find_lock_file(storage, "run").exists()
