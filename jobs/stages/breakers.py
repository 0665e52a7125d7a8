"""Breakers: stop a run that would delete or refuse an unlikely share of the catalogue, before anything is served.

An incomplete snapshot looks like mass deletion, and a broken export like mass refusal. A breaker does not apply to the
first run of a collection. It is lifted only by a named override with a reason, which the plan records
(docs/decisions/0011-gate-breakers-canary.md). The arithmetic is in `validation.breakers`.
"""

import logging
from collections.abc import Mapping

from jobs.errors import BY_BREAKER, STOPPED_BY, VERDICT, NightStoppedError, PhotosUnreachableError
from jobs.state.run_context import RunContext
from validation.breakers import Breaker, relax_refusals, round_up_percent

log = logging.getLogger(__name__)


def check_breakers(
    context: RunContext, *, deleted: int, served: int, refused: int, delivered: int, accepted_share: float | None = None
) -> str:
    """Return the override in force, or stop a run that deletes or refuses too much.

    Args:
        context: Limits (settings) and overrides.
        deleted: Number of products in the ledger that the delivery lacks, including held deletes.
        served: Number of products in the ledger; 0 means a first run, which passes with a warning.
        refused: Number of rows that validation refused.
        delivered: Number of rows of the snapshot that were judged; rows of one product count once.
        accepted_share: Share of refused rows in the run that was served last; this share and a little more passes.

    Returns:
        The override in force, for the plan's record; empty without one.

    Raises:
        NightStoppedError: A breaker tripped.
    """
    settings = context.settings
    max_deletes = settings.max_deletes if context.allow_deletes is None else context.allow_deletes
    refusals = _make_refusal_breaker(context, refused, delivered, accepted_share)
    if served:
        _check(
            Breaker(deleted, served, max_deletes, settings.breaker_floor),
            "would delete {} served products",
            "--allow-deletes",
            "Usually the catalogue was delivered in part: compare its size with yesterday's.",
        )
    _check_refusals(refusals, "refused {} delivered rows", _name_quarantine(context), is_first=not served)
    overrides = {"--allow-deletes": context.allow_deletes, "--allow-refusals": context.allow_refusals}
    words = [f"{option} {share:g}" for option, share in overrides.items() if share is not None]
    return " ".join((*words, f"({context.reason})")) if words else ""


def check_photos(context: RunContext, *, unreached: int, images: int) -> None:
    """Stop a run in which too many photos are not found or cannot be reached.

    Args:
        context: Limit (settings).
        unreached: Number of photos that are missing or unreachable.
        images: Number of photos of the whole catalogue that reach the model.

    Raises:
        PhotosUnreachableError: The breaker tripped; the run can be retried.
    """
    settings = context.settings
    breaker = Breaker(unreached, images, settings.max_unreachable, settings.breaker_floor)
    if breaker.is_tripped:
        raise PhotosUnreachableError(
            f"{unreached:,} of {images:,} photos are missing or cannot be reached ({breaker.share:.1%}); the limit is "
            f"{breaker.max_share:.1%} and more than {breaker.tolerated_rows:,}. Nothing was served. Usually a folder "
            "is not mounted or an image host is down: run again when it is back. If the photos are gone for good, set "
            f"MOON_MAX_UNREACHABLE={round_up_percent(breaker.share)}",
            **_describe(breaker, "{} of the photos are missing or cannot be reached"),
        )


def check_refused_photos(
    context: RunContext, *, reasons: Mapping[str, int], example: str, images: int, last_share: float | None
) -> None:
    """Stop a run in which hosts returned too many unusable photos; before the first served run only warn.

    Args:
        context: Limit (settings) and override.
        reasons: Number of refused photos without a known version, by reason code.
        example: Description of the problem of one of them.
        images: Number of photos by URL that the date's products name.
        last_share: Share of such photos on the date that was served last; this share and a little more passes.
            None: nothing was served yet.

    Raises:
        NightStoppedError: The breaker tripped.
    """
    breaker = _make_refusal_breaker(context, sum(reasons.values()), images, last_share)
    counts = ", ".join(f"{reason}: {count:,}" for reason, count in sorted(reasons.items()))
    cause = f"Reasons: {counts}; such as {example}."
    _check_refusals(breaker, "refused {} photos by URL", cause, is_first=last_share is None)


def check_refused_products(context: RunContext, *, refused: int, delivered: int, served: int) -> None:
    """Stop a run in which too many products have no usable photo; on a collection's first run only warn.

    Raises:
        NightStoppedError: The breaker tripped.
    """
    breaker = _make_refusal_breaker(context, refused, delivered)
    action = "refused {} delivered rows, because no photo of theirs can be used"
    _check_refusals(breaker, action, _name_quarantine(context), is_first=not served)


def _make_refusal_breaker(
    context: RunContext, refused: int, total: int, accepted_share: float | None = None
) -> Breaker:
    """Return the breaker of refusals, whose limit is the override, else the setting or what was accepted before."""
    settings = context.settings
    max_refusals = settings.max_refusals if context.allow_refusals is None else context.allow_refusals
    if context.allow_refusals is None:
        max_refusals = relax_refusals(max_refusals, accepted_share)
    return Breaker(refused, total, max_refusals, settings.breaker_floor)


def _name_quarantine(context: RunContext) -> str:
    return f"The reason of each one: `moon quarantine --date {context.date}`."


def _check_refusals(breaker: Breaker, action: str, reasons: str, *, is_first: bool) -> None:
    """Stop the run if the breaker has tripped; on a collection's first run, which serves nothing yet, only warn."""
    if not is_first:
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
            f"{round_up_percent(breaker.share)} --reason TEXT",
            **_describe(breaker, f"this run {counted}, {{}}"),
            lift=f"{override} {round_up_percent(breaker.share)}",
        )


def _describe(breaker: Breaker, sentence: str) -> dict[str, str]:
    """Return the facts of a stopped run.

    Args:
        breaker: the breaker that tripped.
        sentence: what it counted, with a place for the share.
    """
    found = sentence.format(f"{breaker.share:.1%}")
    return {STOPPED_BY: BY_BREAKER, VERDICT: f"{found}, the limit is {breaker.max_share:.1%}"}


def check_neighbour_churn(context: RunContext, churn: float) -> str:
    """Return the override in force, or stop a run after which untouched products have lost too many neighbours.

    Args:
        context: Limit (settings) and override.
        churn: Share of neighbours lost by products that the run did not change (`jobs.serving.canary`).

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
            f"with --allow-shift {round_up_percent(churn)} --reason TEXT",
            **{
                STOPPED_BY: BY_BREAKER,
                VERDICT: f"products that it does not touch lost {churn:.1%} of their neighbours, the limit is "
                f"{max_churn:.1%}; its rows were taken back",
            },
            lift=f"--allow-shift {round_up_percent(churn)}",
        )
    return f"--allow-shift {context.allow_shift:g} ({context.reason})" if context.allow_shift is not None else ""
