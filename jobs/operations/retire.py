"""retire: ends the life of a collection that readers have left; its vectors stay in the lake.

Nothing does so by itself: until it is retired, `moon rollback` goes back to it at once. A rollout of the same
checkpoint brings a retired collection back from the lake, and encodes only what came since.
"""

import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jobs.errors import NightStoppedError
from jobs.milvus.client import connect, count_rows, read_alias_target
from jobs.operations.operator_session import record_operation
from jobs.serving.alias import find_unserved_collection, read_model_version
from jobs.state.lease import hold_lease
from jobs.state.ledger import read_ledger_head
from jobs.state.run_context import RunContext
from schemas.collection import pinned_alias

if TYPE_CHECKING:
    from pymilvus import MilvusClient

RETIRE_VERB = "retire"


@dataclass(frozen=True)
class RetireResult:
    """What was dropped, or would be.

    Attributes:
        collection, model_version: which.
        date: the last snapshot date that it held; None where it never served.
        rows: how many products.
    """

    collection: str
    model_version: str
    date: str | None
    rows: int

    def as_dict(self) -> dict[str, object]:
        """Return the fields, for JSON."""
        return asdict(self)


def retire_collection(context: RunContext, name: str, *, dry_run: bool = False) -> RetireResult:
    """Drop a collection and its model's pinned alias.

    Args:
        context: lake, settings and the reason, which is kept in the lake's history; its date does not matter.
        name: the collection, or first digits of its model version.
        dry_run: only look.

    Raises:
        NightStoppedError: there is no such collection, or an alias of somebody's names it.
        LeaseBusyError: a rollout or a rollback works on it.
    """
    began = time.monotonic()
    with connect(context.settings) as client:
        served = read_alias_target(client, context.settings.alias)
        target = find_unserved_collection(client, served, name, option="--model")
        version = read_model_version(client, target)
        with hold_lease(context.lake, target, context.settings):
            pinned = _check_unserved(client, target, pinned_alias(context.settings.alias, version))
            client.load_collection(target)
            held = read_ledger_head(context.lake, target).high_water
            found = RetireResult(target, version, held, count_rows(client, target))
            if dry_run:
                return found
            for alias in pinned:
                client.drop_alias(alias)
            client.drop_collection(target)
        date = found.date or datetime.now(UTC).date().isoformat()
        record_operation(
            context.lake,
            RETIRE_VERB,
            date,
            {"rows": found.rows},
            {"collection": target, "reason": context.reason},
            began,
        )
        return found


def _check_unserved(client: "MilvusClient", collection: str, pinned: str) -> list[str]:
    """Return the pinned alias if it names the collection; refuse if another one does, of whatever service."""
    aliases = list(client.list_aliases(collection)["aliases"])
    if others := sorted(set(aliases) - {pinned}):
        raise NightStoppedError(
            f"alias {', '.join(others)} names {collection}: readers may be there. Move or drop it first, then retire"
        )
    return aliases
