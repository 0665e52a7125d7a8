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
from jobs.serving.alias import operator
from jobs.serving.collection import flush, open_collection, registered_dimension
from jobs.serving.reconcile import Mender
from jobs.serving.row_writer import RowWriter
from jobs.serving.search import published
from jobs.state.lease import Lease, hold_lease
from jobs.state.ledger import ledger_version
from jobs.state.run_context import Night
from jobs.state.run_log import record

if TYPE_CHECKING:
    from pymilvus import MilvusClient


@dataclass(frozen=True)
class Bench:
    """The served collection, ours for a while.

    Attributes:
        client, collection: where.
        lease: the right to write it.
        mender: writes it.
        ledger_version: of its ledger, which nobody else writes meanwhile.
    """

    client: "MilvusClient"
    collection: str
    lease: Lease
    mender: Mender
    ledger_version: int

    def flush(self) -> None:
        """Make what was written searchable at full speed."""
        flush(self.client, self.collection)


@contextmanager
def at_the_bench(night: Night) -> Iterator[Bench]:
    """Hold the lease of the collection behind the alias.

    Raises:
        NothingPublishedError: the alias names nothing of ours.
        NightStoppedError: this lake does not know the collection.
        LeaseBusyError: a night kept it for longer than we wait.
    """
    with connect(night.settings) as client:
        served = published(client, night.settings.alias)
        name, version = served.collection, served.model_version
        if not ledger_version(night.lake, name):
            raise NightStoppedError(
                f"the ledger of this lake knows nothing of {name}, which alias {night.settings.alias} names: name the "
                "lake that its nights are kept in (--lake)"
            )
        dimension = registered_dimension(night.lake, version)
        with hold_lease(night.lake, name, night.settings) as lease:
            open_collection(client, name)
            writer = RowWriter(night.settings, lease.guard, name)
            mender = Mender(night.spark, night.lake, client, writer, version, dimension)
            yield Bench(client, name, lease, mender, ledger_version(night.lake, name))


def note(
    lake: Lake, stage: str, date: str, counts: Mapping[str, int], details: Mapping[str, str], began: float
) -> None:
    """Append what was done by hand to `runs`, with who did it.

    Args:
        lake, stage, date: where, what, and the snapshot date that it concerns.
        counts, details: as of a stage.
        began: `time.monotonic` of its beginning.
    """
    row: dict[str, object] = {
        "stage": stage,
        "outcome": "success",
        "counts": list(counts.items()),
        "seconds": round(time.monotonic() - began, 3),
        "details": [*details.items(), ("by", operator())],
        "finished_at": datetime.now(UTC),
    }
    record(lake, date, "", [row])
