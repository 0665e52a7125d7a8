"""What an operator's work on the served collection needs: its lease, a mender, and a line in the history.

Shared by `jobs.operations.repair` and `jobs.operations.restore`. Other writers of the collection wait until it ends.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.errors import NightStoppedError
from jobs.lake.store import Lake
from jobs.milvus.client import connect, read_collection_properties
from jobs.serving.collection import flush_collection, open_collection, read_dimension
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
    """The served collection, ours for a while.

    Attributes:
        client, collection: where.
        lease: the right to write it.
        reconciler: writes it.
        ledger_version: version of its ledger, which nobody else writes during the session.
    """

    client: "MilvusClient"
    collection: str
    lease: Lease
    reconciler: Reconciler
    ledger_version: int

    def flush(self) -> None:
        """Make what was written searchable at full speed."""
        flush_collection(self.client, self.collection)


@contextmanager
def operator_session(context: RunContext) -> Iterator[OperatorSession]:
    """Hold the lease of the collection behind the alias.

    Raises:
        NothingPublishedError: the alias names nothing of ours.
        NightStoppedError: this lake does not know the collection.
        SchemaVersionError: a later release made the collection.
        LeaseBusyError: a night kept it for longer than we wait.
    """
    with connect(context.settings) as client:
        served = read_served_collection(client, context.settings.alias)
        name, version = served.collection, served.model_version
        if not read_ledger_head(context.lake, name).version:
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
            open_collection(client, name)
            writer = RowWriter(context.settings, lease.guard, name)
            reconciler = Reconciler(context.spark, context.lake, client, writer, version, dimension)
            yield OperatorSession(client, name, lease, reconciler, read_ledger_head(context.lake, name).version)


def record_operation(
    lake: Lake, stage: str, date: str, counts: Mapping[str, int], details: Mapping[str, str], started: float
) -> None:
    """Append an operator's action to `runs`, with who did it.

    Args:
        lake, stage, date: where, what, and the snapshot date that it concerns.
        counts, details: as of a stage.
        started: `time.monotonic` of its beginning.
    """
    seconds = time.monotonic() - started
    row = make_run_row(stage, counts, {**details, "by": current_operator()}, seconds=seconds)
    record_runs(lake, date, "", [row])
