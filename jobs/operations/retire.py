"""retire: ends the life of a collection that readers have left; its vectors stay in the lake.

Nothing does so by itself: until it is retired, `moon rollback` goes back to it at once. A rollout of the same
checkpoint brings a retired collection back from the lake, and encodes only what came since.
"""

import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jobs.errors import NightStoppedError
from jobs.milvus.client import alias_target, connect, count
from jobs.operations.operator_session import note
from jobs.serving.alias import model_of, unserved_collection
from jobs.state.lease import hold_lease
from jobs.state.ledger import highwater
from jobs.state.run_context import Night
from schemas.collection import pinned_alias

if TYPE_CHECKING:
    from pymilvus import MilvusClient

VERB = "retire"


@dataclass(frozen=True)
class Retired:
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


def retire(night: Night, name: str, *, dry_run: bool = False) -> Retired:
    """Drop a collection and its model's pinned alias.

    Args:
        night: lake, settings and the reason, which is kept in the lake's history; its date does not matter.
        name: the collection, or first digits of its model version.
        dry_run: only look.

    Raises:
        NightStoppedError: there is no such collection, or an alias of somebody's names it.
        LeaseBusyError: a rollout or a rollback works on it.
    """
    began = time.monotonic()
    with connect(night.settings) as client:
        served = alias_target(client, night.settings.alias)
        target = unserved_collection(client, served, name, option="--model")
        version = model_of(client, target)
        with hold_lease(night.lake, target, night.settings):
            pinned = _check_left(client, target, pinned_alias(night.settings.alias, version))
            client.load_collection(target)
            held = highwater(night.lake, target)
            found = Retired(target, version, held.isoformat() if held else None, count(client, target))
            if dry_run:
                return found
            for alias in pinned:
                client.drop_alias(alias)
            client.drop_collection(target)
        date = found.date or datetime.now(UTC).date().isoformat()
        note(night.lake, VERB, date, {"rows": found.rows}, {"collection": target, "reason": night.reason}, began)
        return found


def _check_left(client: "MilvusClient", collection: str, pinned: str) -> list[str]:
    """Return the pinned alias if it names the collection; refuse if another one does, of whatever service."""
    aliases = list(client.list_aliases(collection)["aliases"])
    if others := sorted(set(aliases) - {pinned}):
        raise NightStoppedError(
            f"alias {', '.join(others)} names {collection}: readers may be there. Move or drop it first, then retire"
        )
    return aliases
