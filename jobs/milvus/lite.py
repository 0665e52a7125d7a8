"""Opens Milvus Lite in this process, shares it between users, and closes it when the last user leaves.

A Milvus Lite path is locked by the process that has it open. pymilvus opens it itself for a ``.db`` URI, but keeps it
open until the process ends and hides the cause of a failure. A nightly run of several hours would block every search.
"""

import errno
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.errors import EXIT_USAGE, MoonError

if TYPE_CHECKING:
    import grpc
    from milvus_lite import MilvusLite

log = logging.getLogger(__name__)
logging.getLogger("grpc._server").setLevel(logging.CRITICAL)  # a traceback for every call that Milvus Lite lacks
logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # lists the builds of itself that it does not find

DISK_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO}
"""Numbers of system errors that another path need not avoid."""

LITE_POLL_SECONDS = 0.5
LITE_LOG_SECONDS = 15.0

INDEX_SUFFIX = ".idx"
"""End of the names of Milvus Lite's index files, which it builds again where they are missing."""


class LiteBusyError(MoonError):
    """Another process has the Milvus Lite path open."""


class LitePathError(MoonError):
    """The path cannot be a Milvus Lite database."""

    exit_status = EXIT_USAGE


@dataclass
class _Server:
    """A running Milvus Lite: its gRPC server, database, port and number of users."""

    server: "grpc.Server"
    database: "MilvusLite"
    port: int
    users: int = 0


_servers: dict[Path, _Server] = {}
_servers_lock = threading.Lock()


@contextmanager
def run_lite_server(path: str, wait_seconds: float) -> Iterator[str]:
    """Yield the loopback URI of a Milvus Lite serving a path; the path is free again afterwards.

    Args:
        path: the database's folder; created if it does not exist.
        wait_seconds: waiting time while another process has it open.

    Raises:
        LiteBusyError: another process still had it open after that time.
        LitePathError: something else is at the path.
        OSError: the disk is full, or cannot be written.
    """
    folder = Path(path).expanduser().resolve()
    with _servers_lock:
        running = _servers.get(folder) or _open_when_free(folder, wait_seconds)
        _servers[folder] = running
        running.users += 1
    try:
        yield f"http://127.0.0.1:{running.port}"
    finally:
        with _servers_lock:
            running.users -= 1
            if not running.users:
                del _servers[folder]
                running.server.stop(grace=5).wait()
                running.database.close()


def _open_when_free(folder: Path, wait_seconds: float) -> _Server:
    from milvus_lite import DataDirLockedError  # noqa: PLC0415  (a second to import)
    from milvus_lite.adapter.grpc.server import start_server_in_thread  # noqa: PLC0415

    # Every error that its handlers log with a traceback reaches the client as well.
    logging.getLogger("milvus_lite.adapter").setLevel(logging.CRITICAL)
    start, logged = time.monotonic(), 0.0
    while True:
        try:
            return _Server(*start_server_in_thread(str(folder), host="127.0.0.1", port=0))
        except DataDirLockedError as error:
            waited = time.monotonic() - start
            if waited >= wait_seconds:
                raise LiteBusyError(
                    f"Milvus Lite at {folder} is open in {_find_holder(folder)}, for over {waited:.0f} s now. Only one "
                    "process at a time can have it: let that one finish or end it (MOON_WAIT_SECONDS waits longer), "
                    "or use a Milvus server for several (--milvus http://HOST:19530)"
                ) from error
            if waited - logged >= LITE_LOG_SECONDS or not logged:
                logged = max(waited, LITE_POLL_SECONDS)
                log.info("waiting for Milvus Lite at %s, open in %s", folder, _find_holder(folder))
            time.sleep(LITE_POLL_SECONDS)
        except OSError as error:
            if error.errno in DISK_FAULTS:
                raise
            raise LitePathError(
                f"{folder} cannot be a Milvus Lite database ({error}): name a folder that does not exist yet, or one "
                "that Milvus Lite 3 made"
            ) from error


def find_lite_damage(path: str) -> Iterator[tuple[str, str]]:
    """Yield the damaged files of a Milvus Lite database, each with what is wrong with it.

    Args:
        path: the database's folder; a path without one has no damage.
    """
    folder = Path(path).expanduser().resolve()
    for file in sorted(folder.rglob("*.json")):
        try:
            json.loads(file.read_bytes())
        except ValueError:
            yield str(file), "is truncated or no JSON"
    for file in sorted(folder.rglob("data_*.parquet")):
        if problem := _read_parquet(file):
            yield str(file), problem
    for manifest in sorted(folder.rglob("manifest.json")):
        yield from _find_lost_data(manifest)
    for file in sorted(folder.rglob(f"*{INDEX_SUFFIX}")):
        if not _can_read_index(file):
            yield str(file), "is no whole index"


def _can_read_index(file: Path) -> bool:
    if not file.name.endswith(f".flat{INDEX_SUFFIX}"):
        return bool(file.stat().st_size)  # a FAISS index says nothing of its own length
    try:
        with file.open("rb") as stream:
            np.load(stream)
    except (OSError, EOFError, ValueError):
        return False
    return True


def _read_parquet(file: Path) -> str:
    try:
        with pq.ParquetFile(file) as table:
            for _ in table.iter_batches():
                pass
    except FileNotFoundError:
        return ""  # compacted a moment ago
    except (OSError, pa.ArrowException):
        return "is no whole Parquet file"
    return ""


def _find_lost_data(manifest: Path) -> Iterator[tuple[str, str]]:
    """Yield the data files that a collection's manifest names and that are missing."""
    with suppress(ValueError):
        for partition, content in json.loads(manifest.read_bytes()).get("partitions", {}).items():
            for name in content.get("data_files", []) if isinstance(content, dict) else []:
                if not (file := manifest.parent / "partitions" / partition / name).exists():
                    yield str(file), "is missing"


def _find_holder(folder: Path) -> str:
    """Return a description of the process that has the path open, if it is on this machine."""
    inode = (folder / "LOCK").stat().st_ino
    try:
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        pids = [int(lock[4]) for lock in locks if lock[1] == "FLOCK" and lock[5].endswith(f":{inode}")]
        command = " ".join(" ".join(psutil.Process(pids[0]).cmdline()).split())
        return f"process {pids[0]} ({command[:80]})"
    except (OSError, IndexError, ValueError, psutil.Error):
        return "another process"
