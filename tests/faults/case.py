"""Cases of the fault harness: which faults meet which run, and what became of it."""

import random
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from jobs.fault_points import HANG, RAISE
from jobs.stages.runner import NIGHTLY_STAGES
from tests.faults.points import Fault

Reached = Mapping[tuple[int, str], Sequence[tuple[str, int]]]
"""The points that a clean run reaches, by night and stage, each with its occurrence in the stage."""

WHOLE_NIGHT_EVERY = 10
"""Every so many single faults, the whole night is run again and compared, not only the stage of the fault."""


@dataclass(frozen=True)
class Case:
    """Faults in one night.

    Attributes:
        night: number of the night: 0 is the first on an empty lake, 1 changes what the first served.
        stage: the stage that begins on a copy of a clean run's state.
        faults: each meets a run of its own, one after the other.
        is_whole: whether the whole night is run again afterwards, instead of this stage only.
    """

    night: int
    stage: str
    faults: tuple[Fault, ...]
    is_whole: bool = False

    @property
    def name(self) -> str:
        """Identifies the case in the results."""
        what = ", ".join(map(str, self.faults))
        return f"night {self.night + 1} {self.stage}: {what}{', whole night' if self.is_whole else ''}"

    @property
    def again(self) -> Sequence[str]:
        """The stages that are run after the faults."""
        return NIGHTLY_STAGES if self.is_whole else (self.stage,)


@dataclass
class Result:
    """What became of a case.

    Attributes:
        name: of the case.
        seconds: time for all its runs.
        ended: how the runs with faults ended.
        fired: number of faults that happened.
        differences: what differs from a clean run afterwards; empty if the case passed.
    """

    name: str
    seconds: float = 0.0
    ended: str = ""
    fired: int = 0
    differences: list[str] = field(default_factory=list)


def list_single_faults(
    reached: Reached, actions: Sequence[str] = (RAISE, HANG), count: int | None = None
) -> list[Case]:
    """Return cases of one fault: every point, every time it was reached, every action; in a fixed, mixed order.

    Args:
        reached: points of the clean nights.
        actions: actions of `jobs.fault_points`.
        count: how many cases, spread over all; None: all.
    """
    singles = [
        Case(night, stage, (Fault(point, occurrence, action),))
        for (night, stage), found in reached.items()
        for point, occurrence in found
        for action in actions
    ]
    ordered = sorted(singles, key=_mix)  # the same for every machine, also where one reaches a point more or less
    return [replace(case, is_whole=_mix(case) % WHOLE_NIGHT_EVERY == 0) for case in ordered[:count]]


def _mix(case: Case) -> int:
    return zlib.crc32(case.name.encode())


def draw_combinations(reached: Reached, seed: int, count: int) -> Iterator[Case]:
    """Yield random combinations of a seed: two or three faults, each in a run of its own of the same night."""
    draw = random.Random(seed)
    for _ in range(count):
        night, first = draw.choice([0, 1]), draw.randrange(len(NIGHTLY_STAGES))
        points = sorted({point for stage in NIGHTLY_STAGES[first:] for point in reached[night, stage]})
        faults = [Fault(*draw.choice(points), RAISE) for _ in range(draw.choice([2, 3]))]
        yield Case(night, NIGHTLY_STAGES[first], tuple(faults), is_whole=True)
