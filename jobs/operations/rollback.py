"""rollback: gives readers the model back that they had before, caught up with the nights that have passed since.

The collection of the earlier model is still there (nothing drops it by itself); it holds what was served when the
alias moved on. It is brought to what is served now by its own model, and then the alias moves while no night can come
between.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jobs.errors import NightStoppedError
from jobs.milvus.client import connect
from jobs.operations.catch_up import Follower, expected_work, lacks, plan_of, served_date
from jobs.serving.alias import Move, model_of, move_alias, previous_collection, unserved_collection
from jobs.serving.search import published
from jobs.stages.estimate import Estimate
from jobs.state.ledger import highwater
from jobs.state.model_registry import ModelChoice, registered_model
from jobs.state.run_context import Night
from schemas.collection import is_scratch

if TYPE_CHECKING:
    from pymilvus import MilvusClient

VERB = "rollback"


@dataclass(frozen=True)
class Way:
    """From which collection back to which.

    Attributes:
        served: collection behind the alias.
        to: model and collection that readers get back.
        date: the date that is served.
        to_date: the date that the other collection holds; None where it never served.
        behind: how many of its rows differ from what that date needs.
        work: the encoding that it costs.
    """

    served: str
    to: ModelChoice
    date: str
    to_date: str | None
    behind: int
    work: Estimate

    def as_dict(self) -> dict[str, object]:
        """Return the fields, for JSON."""
        return {
            "from": self.served,
            "to": self.to.collection,
            "model": self.to.model_version,
            "date": self.date,
            "to_date": self.to_date,
            "behind": self.behind,
            "to_encode": self.work.products,
            "images": self.work.images,
            "seconds": self.work.seconds,
        }


def way_back(night: Night, to: str = "") -> Way:
    """Look where a rollback leads and how far that collection is behind; nothing is encoded or moved.

    Args:
        night: lake, session and settings; its date does not matter.
        to: a collection, or first digits of its model version; empty: the one that the alias named before.

    Raises:
        NightStoppedError: there is no such collection, or its checkpoint is not where it was.
    """
    with connect(night.settings) as client:
        served = published(client, night.settings.alias).collection
        target = _target(night, client, served, to)
        version = model_of(client, target)
    own = night.settings.model_copy(update={"model": None})
    model = registered_model(night.lake, own, version, target)
    there = replace(night, date=served_date(night.lake, served))
    plan = plan_of(there, model)
    held = highwater(night.lake, target)
    return Way(served, model, there.date, held.isoformat() if held else None, lacks(plan), expected_work(there, plan))


def rollback(night: Night, way: Way) -> Move:
    """Catch the collection up and move the alias; done already, it changes nothing.

    Args:
        night: the means, and the reason, which is kept in the history of moves.
        way: from `way_back`.

    Raises:
        MoonError: as raised by the stages detect, encode and upsert, or by `jobs.serving.alias.move_alias`.
    """
    made: list[Move] = []

    def act(client: "MilvusClient") -> None:
        made.append(move_alias(client, night.settings, night.lake, way.to.collection, verb=VERB, reason=night.reason))

    with connect(night.settings) as client:
        Follower(night, way.to, way.served).then(client, act)
    return made[0]


def _target(night: Night, client: "MilvusClient", served: str, to: str) -> str:
    alias = night.settings.alias
    if not to:
        found = previous_collection(night.lake, client, alias)
        if found is None:
            raise NightStoppedError(
                f"alias {alias} has named no other collection before {served}, as far as one is left: name one with "
                f"--to ({', '.join(client.list_collections())})"
            )
        return found
    target = unserved_collection(client, served, to, option="--to")
    if is_scratch(target):
        raise NightStoppedError(f"{target} is a scratch collection of a backfill and will expire: readers never get it")
    return target
