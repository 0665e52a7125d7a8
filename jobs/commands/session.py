"""Opens the lake and the Spark session for commands that use Spark."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jobs.log_file import LOG_FILE

if TYPE_CHECKING:
    from jobs.settings import Settings
    from jobs.state.run_context import RunContext

log = logging.getLogger(__name__)


@contextmanager
def open_context(
    settings: "Settings",
    verb: str,
    date: str = "",
    *,
    needs_lake: bool = False,
    needs_milvus: bool = False,
    **fields: Any,
) -> "Iterator[RunContext]":
    """Yield the context of a command; its Spark session ends with the block, and its failures are explained.

    Mistakes in the settings are found before Spark starts (`jobs.commands.preflight`).

    Args:
        settings: lake, master and all else.
        verb: name of the Spark application, after "moon".
        date: ISO snapshot date; empty where it does not matter.
        needs_lake: whether the lake must be there already.
        needs_milvus: whether the command uses Milvus.
        fields: breakers that are lifted and the reason, as `RunContext` takes them.

    Raises:
        MoonError: a setting cannot be used.
        JavaDiedError, DamageError: see `jobs.spark.failure_causes.explain_failures`.
    """
    from jobs.commands.preflight import check_lake, check_milvus, check_model
    from jobs.lake.store import open_lake
    from jobs.spark.failure_causes import explain_failures
    from jobs.spark.session import open_spark_session
    from jobs.state.run_context import RunContext

    lake = open_lake(settings)
    check_lake(settings, must_exist=needs_lake)
    check_model(settings)
    if needs_milvus:
        check_milvus(settings)
    if LOG_FILE.is_used and LOG_FILE.open():
        log.info("the whole log, with Spark's own, is in %s", LOG_FILE.path)
    with explain_failures(lake.storage), open_spark_session(settings, f"moon {verb}") as spark:
        yield RunContext(spark, lake, settings, date, **fields)
