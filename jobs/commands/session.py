"""Opens the lake and the Spark session for commands that use Spark."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobs.settings import Settings
    from jobs.state.run_context import RunContext


@contextmanager
def open_context(settings: "Settings", verb: str, date: str = "", **fields: Any) -> "Iterator[RunContext]":
    """Yield the context of a command; its Spark session ends with the block, and its failures are explained.

    Args:
        settings: lake, master and all else.
        verb: name of the Spark application, after "moon".
        date: ISO snapshot date; empty where it does not matter.
        fields: breakers that are lifted and the reason, as `RunContext` takes them.

    Raises:
        JavaDiedError, DamageError: see `jobs.spark.failure_causes.explain_failures`.
    """
    from jobs.lake.store import open_lake
    from jobs.spark.failure_causes import explain_failures
    from jobs.spark.session import open_spark_session
    from jobs.state.run_context import RunContext

    lake = open_lake(settings)
    with explain_failures(lake.storage), open_spark_session(settings, f"moon {verb}") as spark:
        yield RunContext(spark, lake, settings, date, **fields)
