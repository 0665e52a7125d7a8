"""Explains failures that Spark or pyarrow report from far away: a damaged file of the lake, a Java process that died.

Spark raises the same classes for a truncated file, a lost worker and an error of ours. So the lake's files are looked
at, and the Java process, rather than the message.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa
from deltalake.exceptions import DeltaError
from py4j.protocol import Py4JError, Py4JNetworkError
from pyspark.errors import PySparkException

from jobs.errors import EXIT_FAULT, DamageError, JavaDiedError, MoonError
from jobs.lake.checking import find_lake_damage

if TYPE_CHECKING:
    from jobs.lake.storage import Storage

log = logging.getLogger(__name__)

READ_FAILURES = (PySparkException, Py4JError, pa.ArrowException, OSError, DeltaError)
"""What Spark, pyarrow and deltalake raise where they cannot read a file."""


NO_DAMAGE = "no file of the lake is damaged, by logs, sizes and footers"
"""Note on a failure for which the lake was looked at; it is not looked at again further out."""


@contextmanager
def explain_failures(storage: "Storage") -> Iterator[None]:
    """Raise a failure of the block as what it is by the evidence; any other error, and one without, as it was.

    Raises:
        JavaDiedError: the Java process of the Spark session has ended.
        DamageError: a file of the lake is damaged.
    """
    try:
        yield
    except Exception as error:
        if explained := _explain(error, storage):
            raise explained from error
        raise


def is_java_dead() -> bool:
    """Return whether this process had started Java for Spark, and that process has ended."""
    from pyspark import SparkContext  # noqa: PLC0415  (an import of Spark's classes takes a second)

    process = getattr(SparkContext._gateway, "proc", None)
    return process is not None and process.poll() is not None


def _explain(error: Exception, storage: "Storage") -> MoonError | None:
    if isinstance(error, DamageError | JavaDiedError) or NO_DAMAGE in getattr(error, "__notes__", ()):
        return None
    cause = error.__cause__ if isinstance(error, MoonError) and error.exit_status == EXIT_FAULT else error
    if isinstance(cause, Py4JNetworkError) or (not isinstance(cause, MoonError) and is_java_dead()):
        return JavaDiedError(
            "the Java process of Spark ended in the middle of the work (killed, often because the machine was out of "
            "memory). What was committed stays, and readers keep the last published rows: run the same command again; "
            "if it happens again, give Spark less memory or the machine more (MOON_SPARK_MEMORY)"
        )
    if not isinstance(cause, READ_FAILURES):
        return None
    log.info("a read failed: looking for damaged files in the lake")
    try:
        damage = find_lake_damage(storage)
    except (OSError, DeltaError):
        return None  # the store itself does not answer
    if damage is not None:
        return DamageError(str(damage))
    error.add_note(NO_DAMAGE)
    return None
