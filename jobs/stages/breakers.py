"""Breakers: a night that would delete or refuse an unlikely share of the catalogue stops before anything is served.

A half-delivered snapshot looks like mass deletion, a broken export like mass refusal. A breaker trips only above a
share *and* above a number of rows (small catalogues move in large shares), and never on the first night. The one way
past it is a named override with a reason, which the plan records.
"""

import math
from dataclasses import dataclass

from jobs.errors import NightStoppedError
from jobs.state.run_context import RunContext


@dataclass(frozen=True)
class Breaker:
    """One limit on what a night may do.

    Attributes:
        action: what tripped it, for the message ("would delete").
        what: the things counted, for the message ("served products").
        count: how many tonight.
        total: of how many.
        share: the largest share that passes.
        floor: so many pass whatever their share.
        override: the option that lifts it.
        likely_cause: what usually lies behind it.
    """

    action: str
    what: str
    count: int
    total: int
    share: float
    floor: int
    override: str
    likely_cause: str

    @property
    def is_tripped(self) -> bool:
        """Whether the count is over the floor and over the share."""
        return self.count > self.floor and self.count > self.share * self.total

    def check(self) -> None:
        """Let the night pass or stop it.

        Raises:
            NightStoppedError: the breaker tripped; the message names cause and override.
        """
        if not self.is_tripped:
            return
        found = self.count / max(self.total, 1)
        raise NightStoppedError(
            f"this night {self.action} {self.count:,} of {self.total:,} {self.what} ({found:.1%}); the limit is "
            f"{self.share:.1%} and more than {self.floor:,}. Nothing was served. {self.likely_cause} If it is "
            f"right, run "
            f"again with {self.override} {min(1.0, _round_up_percent(found))} --reason TEXT"
        )


def check_breakers(context: RunContext, *, deleted: int, served: int, refused: int, delivered: int) -> str:
    """Stop a night that deletes or refuses too much; the first night of a collection passes.

    Args:
        context: limits (settings) and overrides.
        deleted: products of the ledger that tonight's plan deletes.
        served: products in the ledger; 0 makes it a first night.
        refused: rows that validation refused.
        delivered: rows of the snapshot.

    Returns:
        The override in force, for the plan's record; empty without one.

    Raises:
        NightStoppedError: a breaker tripped.
    """
    settings = context.settings
    deletes = settings.max_deletes if context.allow_deletes is None else context.allow_deletes
    refusals = settings.max_refusals if context.allow_refusals is None else context.allow_refusals
    floor = settings.breaker_floor
    breakers = (
        Breaker(
            "would delete", "served products", deleted, served, deletes, floor, "--allow-deletes",
            "Usually the catalogue was delivered in part: compare its size with yesterday's.",
        ),
        Breaker(
            "refused", "delivered rows", refused, delivered, refusals, floor, "--allow-refusals",
            "The table `quarantine` tells why, row by row (`moon status`).",
        ),
    )  # fmt: skip
    if served:
        for breaker in breakers:
            breaker.check()
    given = {"--allow-deletes": context.allow_deletes, "--allow-refusals": context.allow_refusals}
    words = [f"{option} {share:g}" for option, share in given.items() if share is not None]
    return " ".join((*words, f"({context.reason})")) if words else ""


def check_neighbour_churn(context: RunContext, churn: float) -> str:
    """Stop a night after which untouched products have lost too many of their neighbours (`jobs.serving.canary`).

    Returns:
        The override in force, for the run's record; empty without one.

    Raises:
        NightStoppedError: the breaker tripped.
    """
    most = context.settings.max_shift if context.allow_shift is None else context.allow_shift
    if churn > most:
        raise NightStoppedError(
            f"products that this night does not touch lost {churn:.1%} of their neighbours; the limit is {most:.1%}. "
            "The rows were taken back. Usually the new vectors are wrong: black or exchanged photos, a broken "
            "detector. Look at what they crowd around (`moon search`). If it is right, run again with --allow-shift "
            f"{min(1.0, _round_up_percent(churn))} --reason TEXT"
        )
    return f"--allow-shift {context.allow_shift:g} ({context.reason})" if context.allow_shift is not None else ""


def _round_up_percent(share: float) -> float:
    """Return the share rounded up to whole percents, so that the advised override suffices."""
    return math.ceil(round(share * 100, 9)) / 100
