"""Tests that a process ends with the one that started it, here by SIGKILL of real processes."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest

CHILD = """
import os, sys, time
from jobs.parent_process import end_with_parent
end_with_parent(int(sys.argv[1]))
print(os.getpid(), flush=True)
time.sleep(60)
"""
PARENT = f"""
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}, str(os.getpid())])
time.sleep(60)
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the signal at a parent's end is Linux's")


def test_a_process_ends_when_its_parent_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    try:
        deadline = time.monotonic() + 10
        while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, "the child runs on"
            time.sleep(0.05)
    finally:
        with suppress(psutil.NoSuchProcess):
            child.kill()


def test_a_process_whose_parent_has_ended_before_ends_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", CHILD, "1"], check=False, capture_output=True, timeout=60)
    assert done.returncode == -signal.SIGTERM
    assert done.stdout == b""
