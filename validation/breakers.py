"""Breakers: each stops a run if a share of the catalogue is above a limit.

Source: docs/decisions/0011-gate-breakers-canary.md.
"""

import math
from dataclasses import dataclass

ACCEPTED_GROWTH = 0.05
"""How much larger the share of refused rows may be than in the run that was served last."""


@dataclass(frozen=True)
class Breaker:
    """A count of rows and the limit above which it stops a run.

    Attributes:
        count: Number of rows counted.
        total: Number of rows of which ``count`` is a share.
        max_share: The largest share that passes.
        tolerated_rows: Number of rows that passes at any share, because shares of a small catalogue vary widely.
    """

    count: int
    total: int
    max_share: float
    tolerated_rows: int

    @property
    def is_tripped(self) -> bool:
        """Whether the count is over both the share and the number of rows."""
        return self.count > self.tolerated_rows and self.count > self.max_share * self.total

    @property
    def share(self) -> float:
        """The count as a share of the total."""
        return self.count / max(self.total, 1)


def round_up_percent(share: float) -> float:
    """Return the share rounded up to whole percents, at most 1.0: the smallest override that suffices."""
    # Round first: 0.14 * 100 is 14.000000000000002, for which 15% would be too much.
    return min(1.0, math.ceil(round(share * 100, 9)) / 100)


def relax_refusals(max_share: float, accepted_share: float | None) -> float:
    """Return the largest share of refused rows that passes after a run that was served with `accepted_share` of them.

    Args:
        max_share: The limit of the settings.
        accepted_share: Share of refused rows in the run that was served last; None before the first.
    """
    return max_share if accepted_share is None else max(max_share, accepted_share + ACCEPTED_GROWTH)
