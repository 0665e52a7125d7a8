"""Stage publish: creates the aliases that readers query, or checks that they name the plan's collection.

Only `moon rollout` and `moon rollback` move the alias (docs/decisions/0013-collection-names.md).
"""

from typing import TYPE_CHECKING

from jobs.errors import NightStoppedError
from jobs.milvus.client import connect, read_alias_target
from jobs.serving.alias import create_alias
from jobs.state.plan_record import Plan
from jobs.state.run_context import RunContext, StageResult
from schemas.collection import pinned_alias

if TYPE_CHECKING:
    from pymilvus import MilvusClient


def publish(context: RunContext, plan: Plan) -> StageResult:
    """Create or check the readers' alias and the model's pinned alias for the plan's collection.

    Raises:
        NightStoppedError: an alias points elsewhere, or the collection is gone.
    """
    aliases = (context.settings.alias, pinned_alias(context.settings.alias, plan.model_version))
    details = {"run_id": plan.run_id, "collection": plan.collection, "alias": aliases[0]}
    with connect(context.settings) as client:
        if not client.has_collection(plan.collection):
            raise NightStoppedError(
                f"there is no collection {plan.collection} to publish in this Milvus: run the night again with the "
                f"same --milvus (`moon nightly --date {context.date}`), which brings it back from the lake"
            )
        created = [alias for alias in aliases if create_alias(client, alias, plan.collection)]
        for alias in aliases:
            _check(client, alias, plan.collection)
    return StageResult({"created": len(created)}, details)


def _check(client: "MilvusClient", alias: str, collection: str) -> None:
    found = read_alias_target(client, alias)
    if found != collection:
        raise NightStoppedError(
            f"alias {alias} points at {found}, the plan's collection is {collection}: somebody moved it while "
            f"the night "
            "ran, or another model is served. Plan the night again (`moon prepare`); `moon rollout` moves an alias"
        )
