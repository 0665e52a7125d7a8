"""Tests that a fault happens where and when it was armed, and nothing where the harness is not at work."""

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from jobs import fault_points
from jobs.fault_points import ARMED, FIRED, FOLDER_VARIABLE, REACHED, RELEASED, InjectedFaultError, reach, surround


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


def arm(folder: Path, point: str, occurrence: int, action: str) -> None:
    (folder / ARMED).write_text(json.dumps([{"point": point, "occurrence": occurrence, "action": action}]))


def test_without_the_variable_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    arm(tmp_path, "a", 1, fault_points.RAISE)
    reach("a")
    assert [path.name for path in tmp_path.iterdir()] == [ARMED]


def test_points_are_recorded_in_order_and_fail_at_the_armed_occurrence_only(folder: Path) -> None:
    arm(folder, "write.x:after", 2, fault_points.RAISE)
    with surround("write.x"):
        pass
    with pytest.raises(InjectedFaultError, match=r"write\.x:after@2"), surround("write.x"):
        pass
    with surround("write.x"):
        pass
    assert (folder / REACHED).read_text().split() == ["write.x:before", "write.x:after"] * 3
    assert len((folder / FIRED).read_text().splitlines()) == 1


def test_a_write_that_fails_does_not_reach_the_point_after_it(folder: Path) -> None:
    with pytest.raises(OSError, match="full"), surround("write.x"):
        raise OSError("full")
    assert (folder / REACHED).read_text().split() == ["write.x:before"]


def test_a_writer_hangs_until_it_is_released(folder: Path) -> None:
    arm(folder, "a", 1, fault_points.HANG)
    writer = threading.Thread(target=reach, args=("a",))
    writer.start()
    writer.join(0.2)
    assert writer.is_alive()
    (folder / RELEASED).touch()
    writer.join(10)
    assert not writer.is_alive()


def test_a_process_is_killed(folder: Path) -> None:
    arm(folder, "a", 1, fault_points.KILL)
    done = subprocess.run([sys.executable, "-c", "from jobs.fault_points import reach; reach('a')"], check=False)
    assert done.returncode == -signal.SIGKILL
