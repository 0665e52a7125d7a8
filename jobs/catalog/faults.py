"""Tells whether a delivery or the machine is at fault when Spark fails to read a catalogue.

The delivery's fault stops a run for good (exit status 3); all else is worth a retry (1). Spark names both alike, so the
files are read again without it.
"""

from collections.abc import Callable, Sequence

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException, SparkRuntimeException

from jobs.catalog.archives import iter_chunks, open_members
from jobs.catalog.parts import UnreadableFileError
from jobs.catalog.records import PACKED_SUFFIXES, guess_catalog_format
from jobs.errors import MoonError, NightStoppedError
from jobs.spark.worker_errors import describe_java_error

READ_FAILURES = (AnalysisException, SparkRuntimeException, Py4JJavaError)
"""What Spark raises where it cannot read files, or loses the task that does."""


class CatalogFaultError(MoonError):
    """Reading a catalogue failed although nothing is wrong with its files: a retry may pass."""


def explain_read_failure(path: str, files: Sequence[str], error: Exception) -> MoonError:
    """Return the error of a run whose catalogue Spark failed to read.

    Args:
        path: How the catalogue is named in messages.
        files: Paths or URIs of its data files; none where they could not be listed.
        error: What Spark raised.

    Returns:
        `NightStoppedError` where a file or the mapping is at fault, else `CatalogFaultError`.
    """
    cause = describe_java_error(error)
    if isinstance(error, AnalysisException):
        return NightStoppedError(f"cannot read the catalogue {path}: {cause}")
    if problem := next(filter(None, map(find_problem, files)), None):
        return NightStoppedError(f"cannot read the catalogue: {problem}. Nothing was changed; deliver it again")
    return CatalogFaultError(
        f"reading the catalogue {path} failed ({cause}), but nothing is wrong with its files: a worker or a disk "
        "failed. Nothing was changed; run the same again"
    )


def find_problem(file: str) -> str | None:
    """Return what is wrong with a packed file or a Parquet file; None where nothing is, or the machine cannot tell."""
    is_packed = file.lower().endswith(PACKED_SUFFIXES)
    if not is_packed and guess_catalog_format(file) != "parquet":
        return None  # any bytes are a text file: its records are judged one by one
    read: Callable[[str], None] = _unpack if is_packed else _read_parquet
    try:
        read(file)
    except UnreadableFileError as error:
        return None if _is_of_machine(error.__cause__) else str(error)
    except (OSError, pa.ArrowException) as error:
        if _is_of_machine(error):
            return None
        return f"{file} is no readable Parquet file: {' '.join(str(error).split())[:300]}"
    return None


def _is_of_machine(error: BaseException | None) -> bool:
    """Return whether a store failed: the system numbers its errors, libraries raise OSError without a number."""
    return isinstance(error, OSError) and error.errno is not None


def _unpack(file: str) -> None:
    with fsspec.open(file, "rb") as stream:
        for _, member in open_members(file, stream):
            for _chunk in iter_chunks(member, None):
                pass


def _read_parquet(file: str) -> None:
    with fsspec.open(file, "rb") as stream:
        for _batch in pq.ParquetFile(stream).iter_batches():
            pass
