"""restore: brings the served collection and its ledger back to what an earlier date served, and holds the nights.

For a poisoned night: one that passed the gate and the breakers and should not have been served. It is the one way back
under a collection's high-water date (docs/decisions/0008-hold-and-restore.md). Rows that differ from that date's are
written under a new epoch, with the snapshot dates they had; what came since is deleted. Nothing is encoded.

The hold comes first, so that a restore that was killed is not undone by the next night. Run again, it continues.
"""

import time
from dataclasses import dataclass

from jobs.errors import NightStoppedError
from jobs.operations.catch_up import read_served_date
from jobs.operations.operator_session import OperatorSession, operator_session, record_operation
from jobs.serving.ledger_change import LedgerChange, apply_change, compare_ledgers
from jobs.state.hold import hold_runs
from jobs.state.ledger import read_ledger, read_ledger_head
from jobs.state.run_context import RunContext
from jobs.state.run_log import current_operator

_STAGE = "restore"


@dataclass(frozen=True)
class RestoreResult:
    """What was brought back, or would be.

    Attributes:
        collection: the served one.
        date: whose state it has now.
        before: the date that was served until then.
        rows: in all.
        brought_back, deleted: rows of another content or missing, and rows that came since.
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
    """Serve what the night's date served, and hold the nights until `moon release`.

    Args:
        context: the date to go back to, the reason, and the means.
        dry_run: only count.

    Raises:
        NightStoppedError: the collection never served that date, serves it already, or the ledger does not tell of it
            any more; or the lake lacks what must be brought back.
        NothingPublishedError, LeaseBusyError: there is nothing to restore, or a night writes it.
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
