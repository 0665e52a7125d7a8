import subprocess
import sys
import time

import numpy as np

from benchmarks.processes import measure_cpu_seconds

WATCH_A_CHILD = """
import subprocess, sys
from benchmarks.processes import watch_memory

with watch_memory() as peaks:
    subprocess.run([sys.executable, "-c", "data = bytearray(300 << 20); import time; time.sleep(2)"], check=True)
print(peaks.mib["driver"], peaks.mib["worker"])
"""


def test_memory_of_driver_and_worker_are_seen_apart():
    # In a process of its own: this one may be the parent of another test's Spark workers.
    output = subprocess.run([sys.executable, "-c", WATCH_A_CHILD], check=True, capture_output=True, text=True).stdout
    driver, worker = map(float, output.split())
    assert 10 < driver < 150
    assert 300 < worker < 400


def test_cpu_seconds_count_this_process():
    before, deadline = measure_cpu_seconds(), time.process_time() + 0.2
    while time.process_time() < deadline:
        np.ones(1000).sum()
    assert measure_cpu_seconds() - before >= 0.15
