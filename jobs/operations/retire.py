"""retire: drops a collection that is no longer served; its vectors stay in the lake.

No collection is retired automatically. Until it is retired, `moon rollback` can return to it at once. A rollout of the
same checkpoint rebuilds a retired collection from the lake, and encodes only the products that are new since then.
"""

import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jobs.errors import NightStoppedError
from jobs.milvus.client import connect, count_rows, read_alias_target
from jobs.operations.operator_session import record_operation
from jobs.serving.alias import find_unserved_collection, list_model_collections, read_model_version
from jobs.state.lease import hold_lease
from jobs.state.ledger import read_ledger_head
from jobs.state.run_context import RunContext
from schemas.collection import pinned_alias

if TYPE_CHECKING:
    from pymilvus import MilvusClient

RETIRE_VERB = "retire"


@dataclass(frozen=True)
class RetireResult:
    """A collection that was dropped, or would be dropped in a dry run.

    Attributes:
        collection: its name; several names (one model, different schema versions) are separated by commas.
        model_version: model version of its vectors.
        date: the last snapshot date that it held; None if it never served.
        rows: number of products that it held.
    """

    collection: str
    model_version: str
    date: str | None
    rows: int

    def as_dict(self) -> dict[str, object]:
        """Return the fields, for JSON."""
        return asdict(self)


def retire_collection(context: RunContext, name: str, *, dry_run: bool = False) -> RetireResult:
    """Drop a model's collections that are not served, of any schema version, and their pinned alias.

    Args:
        context: lake, settings and the reason, which is kept in the lake's history; its date is not used.
        name: first digits of the model version, or one collection.
        dry_run: only report what would be dropped.

    Raises:
        NightStoppedError: there is no such collection, or another alias names it.
        LeaseBusyError: a rollout or a rollback is writing it.
    """
    began = time.monotonic()
    with connect(context.settings) as client:
        served = read_alias_target(client, context.settings.alias)
        newest = find_unserved_collection(client, served, name, option="--model")
        targets = [newest] if name == newest else list_model_collections(client, newest)
        version = read_model_version(client, newest)
        parts = [_drop(context, client, one, version, dry_run) for one in targets if one != served]
        found = RetireResult(
            ", ".join(part.collection for part in parts),
            version,
            max((part.date for part in parts if part.date), default=None),
            sum(part.rows for part in parts),
        )
    if not dry_run:
        date = found.date or datetime.now(UTC).date().isoformat()
        details = {"collection": found.collection, "reason": context.reason}
        record_operation(context.lake, RETIRE_VERB, date, {"rows": found.rows}, details, began)
    return found


def _drop(context: RunContext, client: "MilvusClient", target: str, version: str, dry_run: bool) -> RetireResult:
    """Drop one collection under its lease, unless it is a dry run; return what it held."""
    with hold_lease(context.lake, target, context.settings):
        pinned = _check_unserved(client, target, pinned_alias(context.settings.alias, version))
        client.load_collection(target)
        held = read_ledger_head(context.lake, target).high_water
        found = RetireResult(target, version, held, count_rows(client, target))
        if not dry_run:
            for alias in pinned:
                client.drop_alias(alias)
            client.drop_collection(target)
        return found


def _check_unserved(client: "MilvusClient", collection: str, pinned: str) -> list[str]:
    """Return the pinned alias if it names the collection; refuse if any other alias does, of any service."""
    aliases = list(client.list_aliases(collection)["aliases"])
    if others := sorted(set(aliases) - {pinned}):
        raise NightStoppedError(
            f"alias {', '.join(others)} names {collection}: readers may be there. Move or drop it first, then retire"
        )
    return aliases
