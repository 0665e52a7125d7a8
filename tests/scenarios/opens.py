"""Lists the files of a folder that any process opens, by the kernel's inotify: Spark's workers and the JVM included."""

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

IN_OPEN, IN_Q_OVERFLOW, IN_ISDIR = 0x20, 0x4000, 0x40000000
HEAD = struct.Struct("iIII")


class OpenedFiles:
    """Names of the files opened since the start or since the last call."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def take(self) -> set[str]:
        """Return the names and reset the list."""
        names = set()
        while events := self._read():
            at = 0
            while at < len(events):
                _, mask, _, length = HEAD.unpack_from(events, at)
                name = events[at + HEAD.size : at + HEAD.size + length].rstrip(b"\0").decode()
                assert not mask & IN_Q_OVERFLOW, "more was opened than the kernel keeps"
                if not mask & IN_ISDIR:
                    names.add(name)
                at += HEAD.size + length
        return names

    def _read(self) -> bytes:
        try:
            return os.read(self.descriptor, 1 << 20)
        except BlockingIOError:
            return b""


@contextmanager
def opened_files(folder: Path) -> Iterator[OpenedFiles]:
    """Watch a folder (Linux)."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if descriptor < 0 or libc.inotify_add_watch(descriptor, os.fsencode(folder), IN_OPEN) < 0:
            raise OSError(ctypes.get_errno(), f"cannot watch {folder}")
        yield OpenedFiles(descriptor)
    finally:
        if descriptor >= 0:
            os.close(descriptor)
