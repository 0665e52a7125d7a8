"""restore: resets the served collection and its ledger to an earlier date, and holds nightly runs.

For a date whose bad data passed the gate and the breakers and was served. No other operation lowers the high-water date
of the served collection (docs/decisions/0008-hold-and-restore.md). Rows that differ from those of the earlier date are
written under a new epoch, with their original snapshot dates. Rows that were added later are deleted. Nothing is
encoded.

The hold is set first, so that the next nightly run cannot undo a restore that was killed. Run again, it continues.
"""

import time
from dataclasses import dataclass

from jobs.errors import NightStoppedError
from jobs.operations.catch_up import read_served_date
from jobs.operations.operator_session import OperatorSession, operator_session, record_operation
from jobs.pages.report_index import update_index
from jobs.serving.ledger_change import LedgerChange, apply_change, compare_ledgers
from jobs.state.hold import hold_runs
from jobs.state.ledger import read_ledger, read_ledger_head
from jobs.state.run_context import RunContext
from jobs.state.run_log import current_operator

_STAGE = "restore"


@dataclass(frozen=True)
class RestoreResult:
    """Rows that a restore changed, or would change in a dry run.

    Attributes:
        collection: the served collection.
        date: snapshot date that the collection was reset to.
        before: high-water date before the restore.
        rows: rows of the collection after the restore.
        brought_back: rows that were missing or had other content, and were written.
        deleted: rows that were added after `date`.
        dry_run: nothing was changed and nothing is held.
    """

    collection: str
    date: str
    before: str
    rows: int
    brought_back: int
    deleted: int
    dry_run: bool

    def as_dict(self) -> dict[str, object]:
        """Return the fields, for JSON."""
        return dict(vars(self))


def restore_date(context: RunContext, *, dry_run: bool = False) -> RestoreResult:
    """Reset the served collection to the date of the context, and hold nightly runs until `moon release`.

    Args:
        context: the date to go back to, the reason, lake, session and settings.
        dry_run: only count the rows.

    Raises:
        NightStoppedError: the collection never served that date, serves it already, or the ledger has no history of it
            any more; or the lake lacks rows that must be written.
        NothingPublishedError: nothing is served, so there is nothing to restore.
        LeaseBusyError: a nightly run is writing the collection.
    """
    started = time.monotonic()
    with operator_session(context) as session:
        before = read_served_date(context.lake, session.collection)
        _check_date(context, session.collection, before)
        change = _plan_restore(context, session)
        counts = {"rows": change.rows, "brought_back": change.written, "deleted": change.deleted}
        done = RestoreResult(session.collection, context.date, before, **counts, dry_run=dry_run)
        if dry_run:
            return done
        hold_runs(context.lake, context.date, context.reason, current_operator())
        version, date = session.ledger_version, context.date  # deletes carry the date, as its own run would have
        counts["mended"] = apply_change(session.reconciler, change, version=version, date=date, high_water=date)
    details = {"collection": done.collection, "before": before, "reason": context.reason}
    record_operation(context.lake, _STAGE, context.date, counts, details, started)
    update_index(context.lake, context.settings)
    return done


def _check_date(context: RunContext, collection: str, before: str) -> None:
    if context.date >= before:
        raise NightStoppedError(
            f"{collection} serves {before}: there is nothing later than {context.date} to undo (`moon repair` "
            f"repairs rows "
            "that were changed behind our back)"
        )
    first = read_ledger_head(context.lake, collection).history_start
    if first is not None and context.date < first:
        raise NightStoppedError(
            f"the ledger of {collection} tells what was served from {first} on; older dates were compacted (`moon "
            "maintain`, MOON_RETENTION_DAYS). Restore a later date"
        )


def _plan_restore(context: RunContext, session: OperatorSession) -> LedgerChange:
    spark, lake, name = context.spark, context.lake, session.collection
    now, then = read_ledger(spark, lake, name), read_ledger(spark, lake, name, context.date)
    change = compare_ledgers(now, then, session.lease.epoch)
    if not change.rows:
        raise NightStoppedError(f"{name} served nothing on {context.date} yet: name a date from its first night on")
    return change
