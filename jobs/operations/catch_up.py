"""Catches a collection that is not served up with the one that is: for a rollout, and before a rollback.

The served collection's high-water date says what readers see. The other collection gets the products of that date
from the lake: compared with its own ledger, encoded by its own model where a vector is missing, upserted, verified. The
work is a plan of its own, kept beside the night (`RunContext.apart`); interrupted, it continues, and when a night passes
meanwhile it is done again for the new date (`CatchUp`).

No breaker stands here: the night that served the date has passed them. The collection may also be ahead of what is
served, when the served one was restored: then it goes back with it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jobs.errors import NightStoppedError
from jobs.lake.store import Lake
from jobs.operations.carry_over import OUT_OF_BAND_STAGES, carry_over_products
from jobs.stages.estimate import WorkEstimate, estimate_run
from jobs.stages.plan import count_plan, draft_plan, freeze_changes
from jobs.stages.runner import RunOutcome, run_stages
from jobs.state.lease import hold_lease
from jobs.state.ledger import read_highwater_date, read_ledger_version
from jobs.state.model_registry import ModelChoice, register_model
from jobs.state.plan_record import COUNTS, Plan, commit_plan_header
from jobs.state.run_context import RunContext

if TYPE_CHECKING:
    from pymilvus import MilvusClient

MAX_ROUNDS = 20
"""So many nights may pass during one catching up; each round after the first is as short as the nights between."""


def read_served_date(lake: Lake, collection: str) -> str:
    """Return the date that a collection serves.

    Raises:
        NightStoppedError: it never served one.
    """
    date = read_highwater_date(lake, collection)
    if date is None:
        raise NightStoppedError(
            f"the ledger of this lake knows nothing of the served collection {collection}: name the lake that its "
            "nights are kept in (--lake)"
        )
    return date.isoformat()


def plan_catch_up(context: RunContext, model: ModelChoice) -> Plan:
    """Freeze what a collection lacks of the products of a date, or find it frozen; nothing is encoded or served.

    Args:
        context: the date that is served.
        model: of the collection (`ModelChoice.collection`).

    Raises:
        NightStoppedError: the lake does not hold the date's products.
    """
    draft = replace(draft_plan(context, model, "catch-up/"), serve=True)
    attempt, beside = f"catch-up/{draft.run_id}", model.model_version[:8]
    if not context.lake.is_committed("changes", attempt):
        freeze_changes(context, draft, attempt)
    counts = count_plan(context, draft, model.max_images)
    plan = replace(draft, counts={name: counts[name] for name in COUNTS})
    commit_plan_header(context.lake, plan, attempt, beside)  # whoever mends after us asks which deletes were planned
    return plan


def count_differing_rows(plan: Plan) -> int:
    """Return how many rows of a collection differ from what the plan makes of it."""
    return sum(plan.counts[op] for op in ("new", "changed", "reuse", "deleted"))


def estimate_work(context: RunContext, plan: Plan) -> WorkEstimate:
    """Return the encoding that a plan costs, with its time where this model was measured."""
    return estimate_run(context.lake, plan.model_version, plan.to_encode, plan.counts["images"])


def catch_up_collection(context: RunContext, model: ModelChoice) -> RunOutcome:
    """Make a collection hold the products of one date: encode what has no vector, upsert, verify, note in the ledger.

    Done already, it changes nothing. Recorded in `runs` stage by stage, under the plan's own run id.

    Args:
        context: the date that is served, and the means.
        model: whose collection is brought there; made if it is missing.

    Raises:
        MoonError: as raised by the stages detect, encode and upsert.
    """
    ours = replace(context, settings=context.settings.replace(model=model.uri))
    register_model(ours.lake, model)
    return run_stages(replace(ours, apart=plan_catch_up(ours, model)), OUT_OF_BAND_STAGES)


@dataclass(frozen=True)
class CatchUp:
    """Brings a collection to what another serves and keeps it there while something is done with both.

    Attributes:
        context: lake, session and settings; its date does not matter.
        model: the model of the collection that follows.
        served: the collection that is followed, which goes on being written by its nights.
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
        """Catch up, then act while no night can come between: the lease of the served collection is held meanwhile.

        Args:
            client: handed to the act.
            act: short; typically moves the alias (`jobs.serving.alias.move_alias`).

        Raises:
            NightStoppedError: nights passed faster than the collection could follow.
            LeaseBusyError: a night kept the served collection for longer than we wait.
        """
        for _ in range(MAX_ROUNDS):
            before = read_ledger_version(self.context.lake, self.served)
            self.run()
            with hold_lease(self.context.lake, self.served, self.context.settings):
                if read_ledger_version(self.context.lake, self.served) == before:
                    act(client)
                    return
        raise NightStoppedError(
            f"{self.model.collection} has caught up {MAX_ROUNDS} times and {self.served} was further each time: "
            "nights follow one another too closely. Run this between two nights"
        )
