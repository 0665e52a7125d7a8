"""Tests of the lease with real processes: exclusion, renewal, and take-over from dead and stalled holders."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.state.lease import (
    Lease,
    LeaseBusyError,
    LeaseLostError,
    describe_holder,
    hold_lease,
    is_lease_free,
    is_local_holder_dead,
    make_holder_id,
    read_lease_state,
)

HOLD = """
import json, sys
from jobs.lake.store import Lake
from jobs.state.lease import Lease
from jobs.lake.storage import Storage
lease = Lease(Lake(Storage(sys.argv[1])), "c", float(sys.argv[2]))
lease.take(60)
print(json.dumps(lease.epoch), flush=True)
sys.stdin.readline()
lease.release()
"""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(Storage(str(tmp_path / "lake")))


@pytest.fixture
def holder(lake: Lake) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Another process that holds the lease until `let_go`."""
    started: list[subprocess.Popen[str]] = []

    def hold(length: float = 60) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, lake.storage.root, str(length)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        json.loads(process.stdout.readline())
        return process

    yield hold
    for process in started:
        process.kill()
        process.communicate()


def let_go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_every_taking_raises_the_epoch(lake: Lake, make_settings) -> None:
    for epoch in (1, 2, 3):
        with hold_lease(lake, "c", make_settings()) as lease:
            assert lease.epoch == epoch
            lease.guard.check()
            assert not read_lease_state(lake, "c").released
        assert read_lease_state(lake, "c").released
    with hold_lease(lake, "other", make_settings()) as lease:
        assert lease.epoch == 1


def test_one_of_many_gets_it(lake: Lake) -> None:
    ready = threading.Barrier(5)

    def attempt(_: int) -> int:
        lease = Lease(lake, "c", 60)
        ready.wait()
        try:
            lease.take(0)
        except LeaseBusyError:
            return 0
        return lease.epoch

    with ThreadPoolExecutor(5) as pool:
        epochs = list(pool.map(attempt, range(5)))
    assert sorted(epochs) == [0, 0, 0, 0, 1]


def test_a_living_holder_is_waited_for(lake: Lake, holder, make_settings) -> None:
    process = holder()
    with pytest.raises(LeaseBusyError, match=f"process {process.pid} on .* has been writing c"):
        Lease(lake, "c", 60).take(0)
    threading.Timer(1, let_go, [process]).start()
    with hold_lease(lake, "c", make_settings()) as lease:
        assert lease.epoch == 2
    assert process.wait(30) == 0


def test_a_killed_holder_is_taken_over_at_once(lake: Lake, holder, make_settings) -> None:
    process = holder()
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    assert read_lease_state(lake, "c").expires_at > datetime.now(UTC) + timedelta(seconds=30)
    start = time.monotonic()
    with hold_lease(lake, "c", make_settings()) as lease:
        assert lease.epoch == 2
    assert time.monotonic() - start < 20


def test_a_stalled_holder_loses_it_and_notices(lake: Lake, holder, make_settings) -> None:
    process = holder(length=2)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        with hold_lease(lake, "c", make_settings()) as lease:
            assert lease.epoch == 2
    finally:
        os.kill(process.pid, signal.SIGCONT)
    first = Lease(lake, "c", 60)
    first.take(10)
    first._stop.set()  # its renewing thread hangs
    stolen = read_lease_state(lake, "c")
    second = Lease(lake, "c", 60)
    second._counter, second.epoch = stolen.counter, stolen.epoch + 1
    second._write(released=False)
    with pytest.raises(LeaseLostError, match=r"has taken c over \(epoch 4\)"):
        first.guard.check()
    with pytest.raises(LeaseLostError):
        first.renew()
    first.release()  # takes nothing from its successor
    second.guard.check()
    assert read_lease_state(lake, "c").holder == second.guard.holder


def test_a_lease_is_renewed_while_it_is_held(lake: Lake, make_settings) -> None:
    with hold_lease(lake, "c", make_settings(lease_seconds=3)) as lease:
        before = read_lease_state(lake, "c")
        time.sleep(4.5)  # longer than it lasts
        lease.guard.check()
        after = read_lease_state(lake, "c")
    assert after.epoch == before.epoch == 1
    assert after.expires_at > before.expires_at


def test_a_lease_that_nobody_renews_runs_out(lake: Lake) -> None:
    lease = Lease(lake, "c", 0.5)
    lease._keep = lambda: None  # type: ignore[method-assign]
    lease._thread = threading.Thread(target=lease._keep)
    lease.take(0)
    time.sleep(0.6)
    with pytest.raises(LeaseLostError, match="ran out"):
        lease.guard.check()
    assert is_lease_free(read_lease_state(lake, "c"), lease.guard.margin)


def test_clocks_may_differ_a_little(lake: Lake) -> None:
    lease = Lease(lake, "c", 60)
    lease.take(0)
    state = read_lease_state(lake, "c")
    lease.release()
    foreign = type(state)(state.counter, 1, "elsewhere:1:2:x", datetime.now(UTC) - timedelta(seconds=1), False)
    assert not is_lease_free(foreign, timedelta(seconds=6))
    assert is_lease_free(foreign, timedelta(seconds=0.5))


def test_who_is_dead_here() -> None:
    me = make_holder_id()
    host, pid, start, name = me.rsplit(":", 3)
    assert not is_local_holder_dead(me)
    assert is_local_holder_dead(f"{host}:{pid}:{int(start) - 1}:{name}"), "the same id at another time"
    assert not is_local_holder_dead(f"elsewhere:{pid}:{int(start) - 1}:{name}"), "other hosts are not judged"
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    assert is_local_holder_dead(f"{host}:{gone.pid}:{start}:{name}")
    assert describe_holder(me) == f"process {pid} on {host.split('/')[0]}"
    assert make_holder_id() != me


def test_a_zombie_is_dead() -> None:
    host = make_holder_id().rsplit(":", 3)[0]
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    deadline = time.monotonic() + 20
    while not Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].startswith(" Z"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert is_local_holder_dead(f"{host}:{child.pid}:1:x")
    child.wait()
