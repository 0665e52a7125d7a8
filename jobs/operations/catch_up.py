"""Brings a collection that is not served to the state of the served one, for a rollout or before a rollback.

The served collection's high-water date is the date that readers see. The other collection gets the products of that
date from the lake. They are compared with its own ledger, encoded with its own model if a vector is missing, upserted
and verified. The work is an out-of-band plan and continues after an interruption. If a nightly run finishes in between,
it is repeated for the new date (`CatchUp`).

No breaker applies, because the run that served the date has passed them. If the served collection was restored, the
other one may have a later date; then it is set back too (docs/decisions/0009-catch-up-rules.md).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jobs.errors import NightStoppedError
from jobs.lake.store import Lake
from jobs.operations.carry_over import carry_over_products
from jobs.stages.estimate import WorkEstimate, estimate_run
from jobs.stages.plan import draft_plan, freeze_comparison
from jobs.stages.runner import OUT_OF_BAND_STAGES, RunOutcome, run_stages
from jobs.state.lease import hold_lease
from jobs.state.ledger import read_ledger_head
from jobs.state.model_registry import ModelChoice, register_model
from jobs.state.model_store import store_model
from jobs.state.plan_record import Plan, commit_plan_header
from jobs.state.run_context import RunContext

if TYPE_CHECKING:
    from pymilvus import MilvusClient

MAX_ROUNDS = 20
"""Nightly runs that may pass during one catch-up; each round after the first is as short as the runs between."""


def read_served_date(lake: Lake, collection: str) -> str:
    """Return the high-water date of a collection: the snapshot date that it serves.

    Raises:
        NightStoppedError: it never served a date.
    """
    date = read_ledger_head(lake, collection).high_water
    if date is None:
        raise NightStoppedError(
            f"the ledger of this lake knows nothing of the served collection {collection}: name the lake that its "
            "nights are kept in (--lake)"
        )
    return date


def plan_catch_up(context: RunContext, model: ModelChoice) -> Plan:
    """Return the frozen plan of the products of a date that a collection lacks; nothing is encoded or served.

    Args:
        context: the date that is served.
        model: the model of the collection (`ModelChoice.collection`).

    Raises:
        NightStoppedError: the lake does not hold the date's products.
    """
    draft = draft_plan(context, model, is_catch_up=True)
    attempt = f"catch-up/{draft.run_id}"
    plan = freeze_comparison(context, draft, attempt, model.max_images)
    commit_plan_header(context.lake, plan, attempt)  # a later reconciliation reads the planned deletes
    return plan


def estimate_work(context: RunContext, plan: Plan) -> WorkEstimate:
    """Return the number of products and images that a plan encodes, and the time if this model was measured."""
    return estimate_run(context.lake, plan.model_version, plan.counts)


def catch_up_collection(context: RunContext, model: ModelChoice) -> RunOutcome:
    """Bring a collection to the products of one date: encode missing vectors, upsert, verify, write the ledger.

    A second call changes nothing. Each stage is recorded in `runs` under the plan's own run id.

    Args:
        context: the date that is served, lake, session and settings.
        model: the model of the collection, which is created if it is missing.

    Raises:
        MoonError: as raised by the stages detect, encode and upsert.
    """
    ours = replace(context, settings=context.settings.replace(model=model.uri, detector=model.detector))
    register_model(ours.lake, model)
    store_model(ours.lake.storage, model.model_version, model.uri, model.detector)
    return run_stages(ours, OUT_OF_BAND_STAGES, plan_catch_up(ours, model))


@dataclass(frozen=True)
class CatchUp:
    """Brings one collection to the state of the served one, and keeps both in step during an operation.

    Attributes:
        context: lake, session and settings; its date is not used.
        model: the model of the collection that catches up.
        served: the served collection; its nightly runs continue.
    """

    context: RunContext
    model: ModelChoice
    served: str

    def run(self) -> RunOutcome:
        """Catch up with the served date, including rows that the served collection kept from earlier dates."""
        context = replace(self.context, date=read_served_date(self.context.lake, self.served))
        carry_over_products(context, self.model, self.served)
        return catch_up_collection(context, self.model)

    def run_while_locked(self, client: "MilvusClient", act: "Callable[[MilvusClient], None]") -> None:
        """Catch up, then call `act` under the lease of the served collection, which keeps nightly runs out.

        Args:
            client: Milvus client that is passed to `act`.
            act: a short operation; typically moves the alias (`jobs.serving.alias.move_alias`).

        Raises:
            NightStoppedError: nightly runs finished faster than the collection could catch up.
            LeaseBusyError: a nightly run held the lease for longer than the waiting time.
        """
        act_while_locked(self.context, self.served, self.model.collection, self.run, lambda: act(client))


def act_while_locked(
    context: RunContext, served: str, follower: str, catch_up: Callable[[], object], act: Callable[[], object]
) -> None:
    """Catch a collection up, then call `act` under the lease of the served collection, which keeps nightly runs out.

    Args:
        context: lake and settings.
        served: the served collection.
        follower: the collection that catches up.
        catch_up: brings the follower to the served date; repeated if a nightly run finished in between.
        act: a short operation; typically moves the alias.

    Raises:
        NightStoppedError: nightly runs finished faster than the collection could catch up.
        LeaseBusyError: a nightly run held the lease for longer than the waiting time.
    """
    for _ in range(MAX_ROUNDS):
        before = read_ledger_head(context.lake, served).version
        catch_up()
        with hold_lease(context.lake, served, context.settings):
            if read_ledger_head(context.lake, served).version == before:
                act()
                return
    raise NightStoppedError(
        f"{follower} has caught up {MAX_ROUNDS} times and {served} was further each time: "
        "nights follow one another too closely. Run this between two nights"
    )
