"""Breakers: each stops a run if a share of the catalogue is above a limit.

Source: docs/decisions/0011-gate-breakers-canary.md.
"""

import math
from dataclasses import dataclass


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
