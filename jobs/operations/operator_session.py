"""What an operator's work on the served collection needs: its lease, a mender, and a line in the history.

Shared by `jobs.operations.repair` and `jobs.operations.restore`. Whoever else writes the collection waits meanwhile.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jobs.errors import NightStoppedError
from jobs.lake.store import Lake
from jobs.milvus.client import connect
from jobs.serving.alias import current_operator
from jobs.serving.collection import flush_collection, open_collection, read_dimension
from jobs.serving.reconcile import Reconciler
from jobs.serving.row_writer import RowWriter
from jobs.serving.search import read_served_collection
from jobs.state.lease import Lease, hold_lease
from jobs.state.ledger import read_ledger_version
from jobs.state.run_context import RunContext
from jobs.state.run_log import record_runs

if TYPE_CHECKING:
    from pymilvus import MilvusClient


@dataclass(frozen=True)
class OperatorSession:
    """The served collection, ours for a while.

    Attributes:
        client, collection: where.
        lease: the right to write it.
        reconciler: writes it.
        ledger_version: of its ledger, which nobody else writes meanwhile.
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
        LeaseBusyError: a night kept it for longer than we wait.
    """
    with connect(context.settings) as client:
        served = read_served_collection(client, context.settings.alias)
        name, version = served.collection, served.model_version
        if not read_ledger_version(context.lake, name):
            raise NightStoppedError(
                f"the ledger of this lake knows nothing of {name}, which alias {context.settings.alias} names: name the "
                "lake that its nights are kept in (--lake)"
            )
        dimension = read_dimension(context.lake, version)
        with hold_lease(context.lake, name, context.settings) as lease:
            open_collection(client, name)
            writer = RowWriter(context.settings, lease.guard, name)
            mender = Reconciler(context.spark, context.lake, client, writer, version, dimension)
            yield OperatorSession(client, name, lease, mender, read_ledger_version(context.lake, name))


def record_operation(
    lake: Lake, stage: str, date: str, counts: Mapping[str, int], details: Mapping[str, str], started: float
) -> None:
    """Append what was done by hand to `runs`, with who did it.

    Args:
        lake, stage, date: where, what, and the snapshot date that it concerns.
        counts, details: as of a stage.
        started: `time.monotonic` of its beginning.
    """
    row: dict[str, object] = {
        "stage": stage,
        "outcome": "success",
        "counts": list(counts.items()),
        "seconds": round(time.monotonic() - started, 3),
        "details": [*details.items(), ("by", current_operator())],
        "finished_at": datetime.now(UTC),
    }
    record_runs(lake, date, "", [row])
