"""Catches a collection that is not served up with the one that is: for a rollout, and before a rollback.

The served collection's high-water date says what readers see. The other collection gets the products of that date from
the lake: compared with its own ledger, encoded by its own model where a vector is missing, upserted, verified. The work
is an out-of-band plan; interrupted, it continues, and when a nightly run passes in between it is repeated for the new
date (`CatchUp`).

No breaker guards it: the run that served the date has passed them. The collection may also be ahead of what is served,
when the served one was restored: then it goes back with it (docs/decisions/0009-catch-up-rules.md).
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
    """Return the date that a collection serves.

    Raises:
        NightStoppedError: it never served one.
    """
    date = read_ledger_head(lake, collection).high_water
    if date is None:
        raise NightStoppedError(
            f"the ledger of this lake knows nothing of the served collection {collection}: name the lake that its "
            "nights are kept in (--lake)"
        )
    return date


def plan_catch_up(context: RunContext, model: ModelChoice) -> Plan:
    """Freeze what a collection lacks of the products of a date, or find it frozen; nothing is encoded or served.

    Args:
        context: the date that is served.
        model: of the collection (`ModelChoice.collection`).

    Raises:
        NightStoppedError: the lake does not hold the date's products.
    """
    draft = draft_plan(context, model, is_catch_up=True)
    attempt = f"catch-up/{draft.run_id}"
    plan = freeze_comparison(context, draft, attempt, model.max_images)
    commit_plan_header(context.lake, plan, attempt)  # a reconciliation later asks which deletes were planned
    return plan


def estimate_work(context: RunContext, plan: Plan) -> WorkEstimate:
    """Return the encoding that a plan costs, with its time where this model was measured."""
    return estimate_run(context.lake, plan.model_version, plan.counts.to_encode, plan.counts.images)


def catch_up_collection(context: RunContext, model: ModelChoice) -> RunOutcome:
    """Make a collection hold the products of one date: encode what has no vector, upsert, verify, note in the ledger.

    Done already, it changes nothing. Recorded in `runs` stage by stage, under the plan's own run id.

    Args:
        context: the date that is served, and the means.
        model: whose collection is brought there; made if it is missing.

    Raises:
        MoonError: as raised by the stages detect, encode and upsert.
    """
    ours = replace(context, settings=context.settings.replace(model=model.uri, detector=model.detector))
    register_model(ours.lake, model)
    store_model(ours.lake.storage, model.model_version, model.uri, model.detector)
    return run_stages(ours, OUT_OF_BAND_STAGES, plan_catch_up(ours, model))


@dataclass(frozen=True)
class CatchUp:
    """Brings a collection to what another serves and keeps it there while something is done with both.

    Attributes:
        context: lake, session and settings; its date does not matter.
        model: the model of the collection that follows.
        served: the collection that is followed; its nightly runs continue.
    """

    context: RunContext
    model: ModelChoice
    served: str

    def run(self) -> RunOutcome:
        """Catch up with the date that is served now, and with what its nights kept from earlier dates."""
        context = replace(self.context, date=read_served_date(self.context.lake, self.served))
        carry_over_products(context, self.model, self.served)
        return catch_up_collection(context, self.model)

    def run_while_locked(self, client: "MilvusClient", act: "Callable[[MilvusClient], None]") -> None:
        """Catch up, then act while no nightly run can come between: the lease of the served collection is held.

        Args:
            client: handed to the act.
            act: short; typically moves the alias (`jobs.serving.alias.move_alias`).

        Raises:
            NightStoppedError: nights passed faster than the collection could follow.
            LeaseBusyError: a night kept the served collection for longer than we wait.
        """
        act_while_locked(self.context, self.served, self.model.collection, self.run, lambda: act(client))


def act_while_locked(
    context: RunContext, served: str, follower: str, catch_up: Callable[[], object], act: Callable[[], object]
) -> None:
    """Catch a collection up, then act while no nightly run can come between: the served one's lease is held.

    Args:
        context: lake and settings.
        served: the collection that is followed.
        follower: the collection that follows.
        catch_up: brings it to what is served now; repeated when a nightly run passed in between.
        act: short; typically moves the alias.

    Raises:
        NightStoppedError: nights passed faster than the collection could follow.
        LeaseBusyError: a night kept the served collection for longer than we wait.
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
