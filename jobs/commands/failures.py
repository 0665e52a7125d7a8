"""Describes a failure that no code expected: one sentence with its cause, its consequence and what to do.

Most are failures of a machine: a full disk, a folder that cannot be written, a store that refuses. Libraries report
them in many ways, some as text alone (delta-rs), some from a Spark task. The places of the command are therefore looked
at after the failure: the lake, Milvus Lite's path and the temporary folder.
"""

import builtins
import os
import tempfile
from pathlib import Path

from pyspark.errors import PythonException

from jobs.errors import EXIT_FAULT, EXIT_USAGE
from jobs.lake.storage import Storage, find_existing, find_wrong_path
from jobs.settings import Settings
from jobs.spark.worker_errors import read_worker_class, summarise_failure

FULL_BYTES = 1 << 20
"""A disk with less room is full: failed writes leave some."""

MAX_CAUSES = 20
"""Causes of a failure that are followed; more would be a loop."""

LIBRARIES = {"deltalake", "_internal", "pyarrow", "pymilvus", "grpc", "py4j", "pyspark", "botocore", "fsspec", "s3fs"}
"""Packages whose exceptions come from a store or Spark; ``_internal`` is that of deltalake's own (1.6.6)."""

KEPT = "what was committed stays and nothing else is visible"


def describe_failure(error: BaseException) -> tuple[str, int]:
    """Return the sentence and the exit status of a failure that is no `MoonError`."""
    settings, summary = Settings.in_use or Settings.model_construct(), summarise_failure(error)
    if not is_system_failure(error):
        return (
            f"the command failed ({summary}): {KEPT}. Run the same command again; where it fails again, report it with "
            "the log file",
            EXIT_FAULT,
        )
    for name, path in _list_places(settings):
        if problem := find_wrong_path(name, path):
            return f"{problem} ({summary}): {KEPT}. Name another path", EXIT_USAGE
        if problem := find_fault(name, path):
            return f"{problem} ({summary}): {KEPT}. Correct it, then run the same command again", EXIT_FAULT
    lake = Storage(settings.lake)
    store = "a disk or a store" if lake.is_local else f"the object store of the lake {settings.lake}, or a disk,"
    return (
        f"{store} refused or did not answer ({summary}): {KEPT}. Correct it, then run the same command again",
        EXIT_FAULT,
    )


def is_system_failure(error: BaseException) -> bool:
    """Return whether a failure, or one of its causes, comes from the system, a store or Spark, not from our code."""
    seen: BaseException | None = error
    for _ in range(MAX_CAUSES):
        if seen is None:
            return False
        if isinstance(seen, PythonException):
            name = read_worker_class(seen)
            kind = getattr(builtins, name, None)
            if name.partition(".")[0] in LIBRARIES or (isinstance(kind, type) and issubclass(kind, OSError)):
                return True
        elif isinstance(seen, OSError) or LIBRARIES & {
            kind.__module__.partition(".")[0] for kind in type(seen).__mro__
        }:
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def find_fault(name: str, path: Path) -> str | None:
    """Return why a folder cannot be written; None where it can.

    Args:
        name, path: as in `find_wrong_path`.
    """
    existing = find_existing(path)
    system = os.statvfs(existing)
    if system.f_flag & os.ST_RDONLY:
        return f"{name} {path} cannot be written, because its file system is read-only"
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"{name} {path} cannot be written, because this user has no right to write in {existing}"
    is_out_of_bytes = system.f_blocks > 0 and system.f_bavail * system.f_frsize < FULL_BYTES
    if is_out_of_bytes or system.f_favail == 0 < system.f_files:
        return f"the disk of {name} {path} is full"
    return None


def _list_places(settings: Settings) -> list[tuple[str, Path]]:
    """Return the folders that a command writes, with their names in messages."""
    lake = Storage(settings.lake)
    return [
        *([("the lake", Path(lake.uri()))] if lake.is_local else []),
        *([("Milvus Lite's folder", Path(settings.milvus).expanduser().absolute())] if settings.is_lite else []),
        ("the temporary folder", Path(tempfile.gettempdir())),
    ]
