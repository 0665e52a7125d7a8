"""rollback: moves readers back to the previous model, after its collection has caught up with later nightly runs.

The collection of the earlier model still exists, because nothing drops it automatically. It holds the products of the
date on which the alias moved away. First the products of the served date are encoded with the earlier model and
upserted. Then the alias moves while the write lease keeps nightly runs out.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jobs.errors import NightStoppedError
from jobs.milvus.client import connect, read_collection_properties
from jobs.operations.catch_up import CatchUp, estimate_work, plan_catch_up, read_served_date
from jobs.serving.alias import (
    AliasMove,
    find_previous_collection,
    find_unserved_collection,
    move_alias,
    read_model_version,
)
from jobs.serving.search import read_served_collection
from jobs.stages.estimate import WorkEstimate
from jobs.state.ledger import read_ledger_head
from jobs.state.model_registry import ModelChoice, read_registered_model
from jobs.state.run_context import RunContext
from schemas.collection import (
    COLLECTION_SCHEMA_VERSION,
    collection_name,
    is_scratch,
    read_schema_version,
    strip_schema_suffix,
)

if TYPE_CHECKING:
    from pymilvus import MilvusClient

ROLLBACK_VERB = "rollback"


@dataclass(frozen=True)
class RollbackPlan:
    """Source and target collection of a rollback, and the work it needs.

    Attributes:
        served: collection behind the alias.
        to: model and collection that readers get back.
        date: high-water date of the served collection.
        to_date: high-water date of the target collection; None if it never served.
        behind: number of rows of the target that differ from the products of `date`.
        work: estimate of the encoding.
    """

    served: str
    to: ModelChoice
    date: str
    to_date: str | None
    behind: int
    work: WorkEstimate

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


def plan_rollback(context: RunContext, to: str = "") -> RollbackPlan:
    """Return the target of a rollback and the work it needs; nothing is encoded or moved.

    Args:
        context: lake, session and settings; its date is not used.
        to: a collection, or the first digits of its model version; empty: the one that the alias named before.

    Raises:
        NightStoppedError: there is no such collection, or its checkpoint was not found.
    """
    with connect(context.settings) as client:
        served = read_served_collection(client, context.settings.alias).collection
        target = _resolve_target(context, client, served, to)
        version = read_model_version(client, target)
        if read_schema_version(read_collection_properties(client, target)) < COLLECTION_SCHEMA_VERSION:
            target = collection_name(version)  # the catch-up creates it from the vectors in the lake
    own = context.settings.model_copy(update={"model": None})
    model = read_registered_model(context.lake, own, version, target)
    there = replace(context, date=read_served_date(context.lake, served))
    plan = plan_catch_up(there, model)
    held = read_ledger_head(context.lake, target).high_water
    return RollbackPlan(
        served,
        model,
        there.date,
        held,
        plan.counts.differing,
        estimate_work(there, plan),
    )


def run_rollback(context: RunContext, plan: RollbackPlan) -> AliasMove:
    """Catch the collection up and move the alias; a second call changes nothing.

    Args:
        context: lake, session, settings, and the reason, which is kept in the history of alias moves.
        plan: from `plan_rollback`.

    Raises:
        MoonError: as raised by the stages detect, encode and upsert, or by `jobs.serving.alias.move_alias`.
    """
    made: list[AliasMove] = []

    def act(client: "MilvusClient") -> None:
        made.append(
            move_alias(
                client, context.settings, context.lake, plan.to.collection, verb=ROLLBACK_VERB, reason=context.reason
            )
        )

    with connect(context.settings) as client:
        CatchUp(context, plan.to, plan.served).run_while_locked(client, act)
    return made[0]


def _resolve_target(context: RunContext, client: "MilvusClient", served: str, to: str) -> str:
    alias = context.settings.alias
    if not to:
        found = find_previous_collection(context.lake, client, alias)
        if found is None:
            raise NightStoppedError(
                f"alias {alias} has named no other collection before {served}, as far as one is left: name one with "
                f"--to ({', '.join(client.list_collections())})"
            )
        return found
    target = find_unserved_collection(client, served, to, option="--to")
    if strip_schema_suffix(target) == strip_schema_suffix(served):
        raise NightStoppedError(f"--to {to} names the model that is served ({served}): there is nothing to roll back")
    if is_scratch(target):
        raise NightStoppedError(f"{target} is a scratch collection of a backfill and will expire: readers never get it")
    return target
