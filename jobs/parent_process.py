"""Ends a process when the process that started it ends, also by SIGKILL (Linux).

Airflow's task starts spark-submit, whose JVM starts the Python driver; the JVM starts Spark's Python workers, which end
by themselves when it does. If one of the chain is killed, all below it end within seconds: a retried task does not run
at the same time as the application of the try before it.
"""

import ctypes
import os
import signal
import sys
from functools import cache

IS_SUBMITTED = "PYSPARK_GATEWAY_PORT"
"""Variable that spark-submit sets for the driver that it starts."""

PR_SET_PDEATHSIG = 1
"""Linux's prctl option: the signal that a process gets when the thread that started it ends."""


@cache
def _load_libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def end_with_parent(parent: int | None = None) -> None:
    """Let the kernel send SIGTERM to this process when the one that started it ends; no effect outside of Linux.

    Args:
        parent: id of that process; if it has ended already, this process ends now. None: it is not checked.
    """
    if (libc := _load_libc()) is None:
        return
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)
