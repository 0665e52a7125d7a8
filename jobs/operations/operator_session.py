"""Gives an operator command exclusive access to the served collection: write lease, reconciler and run record.

Used by `jobs.operations.repair` and `jobs.operations.restore`. Other writers of the collection wait until the session
ends.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.errors import NightStoppedError
from jobs.lake.store import Lake
from jobs.milvus.client import connect, read_collection_properties
from jobs.serving.collection import ensure_index, flush_collection, read_dimension
from jobs.serving.collection_checks import load_collection
from jobs.serving.reconcile import Reconciler
from jobs.serving.row_writer import RowWriter
from jobs.serving.search import read_served_collection
from jobs.state.lease import Lease, hold_lease
from jobs.state.ledger import read_ledger_head
from jobs.state.model_registry import check_schema_version, log_lacking_fields
from jobs.state.run_context import RunContext
from jobs.state.run_log import current_operator, make_run_row, record_runs

if TYPE_CHECKING:
    from pymilvus import MilvusClient


@dataclass(frozen=True)
class OperatorSession:
    """The served collection, locked for one operator command.

    Attributes:
        client, collection: Milvus client and name of the collection.
        lease: write lease on the collection.
        reconciler: writes rows to the collection.
        ledger_version: version of its ledger, which no other process writes during the session.
    """

    client: "MilvusClient"
    collection: str
    lease: Lease
    reconciler: Reconciler
    ledger_version: int

    def flush(self) -> None:
        """Flush the written rows, so that searches use the index for them."""
        flush_collection(self.client, self.collection)


@contextmanager
def operator_session(context: RunContext, *, needs_ledger: bool = True) -> Iterator[OperatorSession]:
    """Yield a session that holds the write lease of the collection behind the alias.

    Args:
        context: lake, session and settings.
        needs_ledger: whether the collection must have a ledger in this lake.

    Raises:
        NothingPublishedError: the alias names no collection of this project.
        NightStoppedError: the collection has no ledger in this lake.
        SchemaVersionError: a later release created the collection.
        DamageError: the collection has other fields than ours.
        LeaseBusyError: a nightly run held the lease for longer than the waiting time.
    """
    with connect(context.settings) as client:
        served = read_served_collection(client, context.settings.alias)
        name, version = served.collection, served.model_version
        if needs_ledger and not read_ledger_head(context.lake, name).version:
            raise NightStoppedError(
                f"the ledger of this lake knows nothing of {name}, which alias {context.settings.alias} names: "
                f"name the "
                "lake that its nights are kept in (--lake)"
            )
        properties = read_collection_properties(client, name)
        check_schema_version(name, properties)
        log_lacking_fields(name, properties)
        dimension = read_dimension(context.lake, version)
        with hold_lease(context.lake, name, context.settings) as lease:
            ensure_index(client, context.settings, name, read_ledger_head(context.lake, name).rows or 0)
            load_collection(client, name)
            writer = RowWriter(context.settings, lease.guard, name)
            reconciler = Reconciler(context.spark, context.lake, client, writer, version, dimension)
            yield OperatorSession(client, name, lease, reconciler, read_ledger_head(context.lake, name).version)


def record_operation(
    lake: Lake, stage: str, date: str, counts: Mapping[str, int], details: Mapping[str, str], started: float
) -> None:
    """Append an operator's action to `runs`, with the user's name.

    Args:
        lake: lake that holds `runs`.
        stage: name of the action.
        date: snapshot date that it concerns.
        counts, details: counts and details, as in a stage's result.
        started: `time.monotonic` at the start of the action, in seconds.
    """
    seconds = time.monotonic() - started
    row = make_run_row(stage, counts, {**details, "by": current_operator()}, seconds=seconds)
    record_runs(lake, date, "", [row])
