"""Breakers: a run that would delete or refuse an unlikely share of the catalogue stops before anything is served.

A partly delivered snapshot looks like mass deletion, a broken export like mass refusal. A breaker does not apply to the
first run of a collection. The only way past it is a named override with a reason, which the plan records
(docs/decisions/0011-gate-breakers-canary.md). The arithmetic is in `validation.breakers`.
"""

import logging

from jobs.errors import NightStoppedError, PhotosUnreachableError
from jobs.state.run_context import RunContext
from validation.breakers import Breaker, relax_refusals, round_up_percent

log = logging.getLogger(__name__)


def check_breakers(
    context: RunContext, *, deleted: int, served: int, refused: int, delivered: int, accepted_share: float | None = None
) -> str:
    """Return the override in force, or stop a run that deletes or refuses too much.

    Args:
        context: Limits (settings) and overrides.
        deleted: Products of the ledger that the delivery lacks, deletes that are held included.
        served: Products in the ledger; 0 makes it a first run, which passes with a warning.
        refused: Rows that validation refused.
        delivered: Rows of the snapshot that were judged; rows that are one product count once.
        accepted_share: Share of refused rows in the run that was served last: as much again, and a little more, passes.

    Returns:
        The override in force, for the plan's record; empty without one.

    Raises:
        NightStoppedError: A breaker tripped.
    """
    settings = context.settings
    max_deletes = settings.max_deletes if context.allow_deletes is None else context.allow_deletes
    max_refusals = settings.max_refusals if context.allow_refusals is None else context.allow_refusals
    if context.allow_refusals is None:
        max_refusals = relax_refusals(max_refusals, accepted_share)
    refusals = Breaker(refused, delivered, max_refusals, settings.breaker_floor)
    if served:
        _check(
            Breaker(deleted, served, max_deletes, settings.breaker_floor),
            "would delete {} served products",
            "--allow-deletes",
            "Usually the catalogue was delivered in part: compare its size with yesterday's.",
        )
    _check_refusals(context, refusals, "refused {} delivered rows", served)
    overrides = {"--allow-deletes": context.allow_deletes, "--allow-refusals": context.allow_refusals}
    words = [f"{option} {share:g}" for option, share in overrides.items() if share is not None]
    return " ".join((*words, f"({context.reason})")) if words else ""


def check_photos(context: RunContext, *, unreached: int, images: int) -> None:
    """Stop a run in which too many photos are not found or cannot be reached.

    Args:
        context: Limit (settings).
        unreached: Photos that are missing or unreachable.
        images: Photos of the whole catalogue that reach the model.

    Raises:
        PhotosUnreachableError: The breaker tripped; a retry is right.
    """
    settings = context.settings
    breaker = Breaker(unreached, images, settings.max_unreachable, settings.breaker_floor)
    if breaker.is_tripped:
        raise PhotosUnreachableError(
            f"{unreached:,} of {images:,} photos are missing or cannot be reached ({breaker.share:.1%}); the limit is "
            f"{breaker.max_share:.1%} and more than {breaker.tolerated_rows:,}. Nothing was served. Usually a folder "
            "is not mounted or an image host is down: run again when it is back. If the photos are gone for good, set "
            f"MOON_MAX_UNREACHABLE={round_up_percent(breaker.share)}"
        )


def check_refused_products(context: RunContext, *, refused: int, delivered: int, served: int) -> None:
    """Stop a run of which too many products have no usable photo; on a collection's first run only warn.

    Raises:
        NightStoppedError: The breaker tripped.
    """
    settings = context.settings
    max_refusals = settings.max_refusals if context.allow_refusals is None else context.allow_refusals
    breaker = Breaker(refused, delivered, max_refusals, settings.breaker_floor)
    action = "refused {} delivered rows, because no photo of theirs can be used"
    _check_refusals(context, breaker, action, served)


def _check_refusals(context: RunContext, breaker: Breaker, action: str, served: int) -> None:
    """Stop the run when the breaker has tripped; on a collection's first run, which serves nothing yet, only warn."""
    reasons = f"The reason of each one: `moon quarantine --date {context.date}`."
    if served:
        _check(breaker, action, "--allow-refusals", reasons)
    elif breaker.is_tripped:
        counted = action.format(f"{breaker.count:,} of {breaker.total:,}")
        log.warning("this first run %s (%.1f%%); a later one would stop. %s", counted, 100 * breaker.share, reasons)


def _check(breaker: Breaker, action: str, override: str, likely_cause: str) -> None:
    """Stop the run when a breaker has tripped; the message names cause and override."""
    if breaker.is_tripped:
        counted = action.format(f"{breaker.count:,} of {breaker.total:,}")
        raise NightStoppedError(
            f"this run {counted} ({breaker.share:.1%}); the limit is {breaker.max_share:.1%} and more than "
            f"{breaker.tolerated_rows:,}. Nothing was served. {likely_cause} If it is right, run again with {override} "
            f"{round_up_percent(breaker.share)} --reason TEXT"
        )


def check_neighbour_churn(context: RunContext, churn: float) -> str:
    """Return the override in force, or stop a run after which untouched products have lost too many neighbours.

    Args:
        context: Limit (settings) and override.
        churn: Share of their neighbours that products lost which the run did not change (`jobs.serving.canary`).

    Returns:
        The override in force, for the run's record; empty without one.

    Raises:
        NightStoppedError: The breaker tripped.
    """
    max_churn = context.settings.max_shift if context.allow_shift is None else context.allow_shift
    if churn > max_churn:
        raise NightStoppedError(
            f"products that this run does not touch lost {churn:.1%} of their neighbours; the limit is "
            f"{max_churn:.1%}. The rows were taken back. Usually the new vectors are wrong: black or exchanged photos, "
            "a broken detector. Look at the products that they are near to (`moon search`). If it is right, run again "
            f"with --allow-shift {round_up_percent(churn)} --reason TEXT"
        )
    return f"--allow-shift {context.allow_shift:g} ({context.reason})" if context.allow_shift is not None else ""
