"""rollout: moves readers to another model in two steps, with an approval between them.

`prepare_rollout` fills the new model's collection while nightly runs continue to serve the old one, and compares both.
A person reads the comparison. `switch_rollout` catches up with the runs that finished since, and moves the alias under
the write lease, which keeps nightly runs out. Each step can be killed and repeated: it continues, and changes nothing
once it is complete.
"""

import logging
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pyspark.sql import functions as F

from jobs.errors import MoonError, NightStoppedError
from jobs.milvus.client import connect, read_alias_target
from jobs.operations.catch_up import MAX_ROUNDS, CatchUp, read_served_date
from jobs.operations.compare import CompareError, compare_models
from jobs.operations.reembed import reembed_in_parts
from jobs.pages.page import REPORTS_FOLDER, render_page, write_page
from jobs.pages.report_index import update_index
from jobs.pages.rollout_queries import make_query_cards
from jobs.serving.alias import AliasMove, move_alias, read_model_version
from jobs.spark.row_counts import count_frames
from jobs.stages.breakers import check_breakers
from jobs.state.ledger import read_ledger, read_ledger_head
from jobs.state.model_registry import ModelChoice, describe_checkpoint
from jobs.state.model_store import store_model
from jobs.state.plan_record import read_plans
from jobs.state.run_context import RunContext
from jobs.state.run_log import current_operator, make_run_row, record_runs
from schemas.collection import ID_FIELD

log = logging.getLogger(__name__)

STAGE = "rollout"
"""Name of both steps in `runs`; the detail ``state`` distinguishes them."""
ROLLOUT_PREPARED, ROLLOUT_SWITCHED, ROLLOUT_ALREADY_SERVED = "prepared", "switched", "serves already"

PRODUCTS_PER_PART = 100_000
"""Products that are planned, detected and encoded together; detected regions are committed once for all of them."""


MAX_NIGHT_DURATION = timedelta(hours=12)
"""A plan that is older than this and was never served (a failed run, a dry run) is not waited for."""

NIGHT_POLL_SECONDS = 5.0


class NothingPreparedError(MoonError):
    """A switch was approved for a rollout that was not prepared."""


class NightUnderwayError(MoonError):
    """A nightly run of the old model is between plan and upsert; after the switch it could not be published."""


@dataclass(frozen=True)
class Rollout:
    """The served collection and the model that replaces it.

    Attributes:
        context: lake, session and settings; its date is not used.
        served, served_model: collection behind the alias and its model version.
        model: the new model and its collection.
        reason: reason of the rollout, recorded in the history.
    """

    context: RunContext
    served: str
    served_model: str
    model: ModelChoice
    reason: str

    @property
    def catch_up(self) -> CatchUp:
        """The catch-up of the new collection with the served one."""
        return CatchUp(self.context, self.model, self.served)

    @property
    def is_done(self) -> bool:
        """Whether readers have this model already."""
        return self.served_model == self.model.model_version


@dataclass(frozen=True)
class RolloutPreview:
    """Row counts and model comparison that the decision about a rollout is based on.

    Attributes:
        date: snapshot date on which both collections were compared.
        rows: products that the old collection serves ("served"), that the new one has ("ready"), and that readers would
            lose ("missing": the new model could not encode them).
        comparison: see `jobs.operations.compare.compare_models`; empty where the catalogue is too small for one.
        page: URI of the HTML page with the comparison.
    """

    date: str
    rows: Mapping[str, int]
    comparison: Mapping[str, Any] = field(default_factory=dict)
    page: str = ""


def begin_rollout(context: RunContext, folder: str, reason: str = "") -> Rollout:
    """Return the rollout from the served collection to a new model; nothing is changed.

    Args:
        context: lake, session and settings; the settings name the alias, not the new model.
        folder: folder of the new checkpoint.
        reason: reason of the rollout, recorded in the history.

    Raises:
        NightStoppedError: nothing is served yet, or the folder has no checkpoint.
    """
    with connect(context.settings) as client:
        served = read_alias_target(client, context.settings.alias)
        if served is None:
            raise NightStoppedError(
                f"alias {context.settings.alias} serves nothing yet, so there is nothing to roll out over: the first "
                f"night brings its model with it (`moon nightly --model {folder}`)"
            )
        version = read_model_version(client, served)
    model = describe_checkpoint(folder, context.settings.detector)
    if version == model.model_version:
        model = replace(model, collection=served)
    return Rollout(context, served, version, model, reason)


def prepare_rollout(rollout: Rollout, *, sample: int = 10_000, k: int = 10, seed: int = 0) -> RolloutPreview:
    """Fill the new collection up to the served date, compare both models and write the page; readers are unaffected.

    Args:
        rollout: a rollout that is not done yet (`Rollout.is_done`).
        sample, k, seed: sample size, neighbours per product and random seed, as for `compare_models`.

    Raises:
        MoonError: as raised by the stages detect, encode and upsert.
    """
    lake, follower, model = rollout.context.lake, rollout.catch_up, rollout.model
    store_model(lake.storage, model.model_version, model.uri, model.detector)  # its folder may change before the switch
    for _ in range(MAX_ROUNDS):
        before = read_ledger_head(lake, rollout.served).version
        context = replace(rollout.context, date=read_served_date(lake, rollout.served))
        for part, outcome in reembed_in_parts(context, rollout.model, PRODUCTS_PER_PART):
            log.info("part %d of %d: %s", part.number + 1, part.of, dict(outcome.results["encode"].counts))
        follower.run()
        if read_ledger_head(lake, rollout.served).version == before:  # no nightly run has finished since
            break
    models = (rollout.served_model, rollout.model.model_version)
    comparison: dict[str, Any] = {}
    try:
        comparison = compare_models(context.spark, lake, models, context.date, k=k, sample_size=sample, seed=seed)
    except CompareError as error:
        log.warning("nothing to compare: %s", error)
    prepared = RolloutPreview(context.date, count_held(rollout), comparison)
    prepared = replace(prepared, page=_write_page(rollout, prepared))
    _record_state(rollout, ROLLOUT_PREPARED, prepared.date, prepared.rows, {"page": prepared.page})
    return prepared


def switch_rollout(rollout: Rollout) -> AliasMove | None:
    """Catch up and move the alias, if this rollout was prepared; None if readers have the model already.

    Raises:
        NothingPreparedError: it was not prepared, or the served collection has changed since.
        NightUnderwayError: a nightly run that was planned is still not served after the waiting time.
        NightStoppedError: readers would lose too many products, or nightly runs follow one another too closely.
        LeaseBusyError: a nightly run held the lease for longer than the waiting time.
    """
    if rollout.is_done:
        return None
    if not _is_prepared(rollout):
        raise NothingPreparedError(
            f"no rollout from {rollout.served} to {rollout.model.collection} was prepared in this lake: run `moon "
            f"rollout --model {rollout.model.uri}` first and read its comparison"
        )
    context, made = rollout.context, []

    def act(client: Any) -> None:
        _check_no_night(rollout)
        rows = count_held(rollout)
        check_breakers(context, deleted=rows["missing"], served=rows["served"], refused=0, delivered=0)
        to, reason = rollout.model.collection, rollout.reason
        made.append(move_alias(client, context.settings, context.lake, to, verb=STAGE, reason=reason))
        _record_state(rollout, ROLLOUT_SWITCHED, read_served_date(context.lake, to), rows, {})

    _wait_for_night(rollout)
    with connect(context.settings) as client:
        rollout.catch_up.run_while_locked(client, act)
    return made[0]


def count_held(rollout: Rollout) -> dict[str, int]:
    """Return the row counts of both collections by their ledgers: served, ready, missing (`RolloutPreview.rows`)."""
    spark, lake = rollout.context.spark, rollout.context.lake
    served, ready = (read_ledger(spark, lake, name) for name in (rollout.served, rollout.model.collection))
    missing = served.join(ready.select(F.col(ID_FIELD)), ID_FIELD, "left_anti")
    return count_frames({"served": served, "ready": ready, "missing": missing})


def _wait_for_night(rollout: Rollout) -> None:
    """Wait until a nightly run that has started is served; Milvus Lite is not held open while waiting."""
    deadline = time.monotonic() + rollout.context.settings.wait_seconds
    while time.monotonic() < deadline:
        try:
            _check_no_night(rollout)
        except NightUnderwayError as error:
            log.info("waiting: %s", error)
            time.sleep(NIGHT_POLL_SECONDS)
        else:
            return


def _check_no_night(rollout: Rollout) -> None:
    """Check that no plan with changes was made from the current ledger of the served collection.

    Raises:
        NightUnderwayError: there is such a plan.
    """
    lake, since = rollout.context.lake, datetime.now(UTC) - MAX_NIGHT_DURATION
    version = read_ledger_head(lake, rollout.served).version
    for plan in read_plans(lake):
        is_current = (plan.collection, plan.ledger_version, plan.serve) == (rollout.served, version, True)
        if is_current and plan.planned_at > since and plan.counts.differing:
            raise NightUnderwayError(
                f"the night of {plan.date} is planned for {rollout.served} and not served yet: let it end (`moon "
                f"serve --date {plan.date}`), then approve again; MOON_WAIT_SECONDS waits longer"
            )


def _is_prepared(rollout: Rollout) -> bool:
    wanted = {"state": ROLLOUT_PREPARED, "before": rollout.served, "after": rollout.model.collection}
    rows = rollout.context.lake.read_arrow("runs").to_pylist()
    return any(row["stage"] == STAGE and wanted.items() <= dict(row["details"]).items() for row in rows)


def _record_state(rollout: Rollout, state: str, date: str, rows: Mapping[str, int], details: Mapping[str, str]) -> None:
    details = {
        "state": state, "before": rollout.served, "after": rollout.model.collection,
        "model": rollout.model.model_version, "reason": rollout.reason, "by": current_operator(), **details,
    }  # fmt: skip
    record_runs(rollout.context.lake, date, "", [make_run_row(STAGE, rows, details)])
    update_index(rollout.context.lake, rollout.context.settings)


def _write_page(rollout: Rollout, prepared: RolloutPreview) -> str:
    """Write the page of a prepared rollout into the lake and return its URI."""
    context = replace(rollout.context, date=prepared.date)
    page = render_page(
        "rollout.html.j2",
        rollout=rollout,
        prepared=prepared,
        found=prepared.comparison,
        queries=make_query_cards(context, prepared.comparison),
        alias=rollout.context.settings.alias,
    )
    name = f"{prepared.date}-{rollout.model.collection}-{uuid.uuid4().hex[:8]}.html"
    return write_page(rollout.context.lake, f"{REPORTS_FOLDER}/rollouts/{name}", page)
