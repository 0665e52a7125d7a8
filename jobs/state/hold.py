"""The hold: nights wait after a restore until a person says that the catalogue is good again.

It is in the lake (table `holds`), because a run started from any machine must find it. `plan` stops
at it, and so does `upsert` under its lease, for a night that was planned before. What runs besides
(rollback, rollout, re-embedding) is not held: it brings nothing that is not served.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from jobs.errors import NightStoppedError
from jobs.lake.store import Lake
from jobs.lake.writing import FileSink


class RunsHeldError(NightStoppedError):
    """Nights are held after a restore."""


@dataclass(frozen=True)
class Hold:
    """Why nights wait.

    Attributes:
        restored: ISO date whose state is served.
        reason, by, since: why, who and when.
    """

    restored: str
    reason: str
    by: str
    since: datetime

    def as_dict(self) -> dict[str, str]:
        """Return the fields, for JSON."""
        return {**vars(self), "since": self.since.isoformat(timespec="seconds")}


def hold_runs(lake: Lake, restored: str, reason: str, by: str) -> Hold:
    """Hold all nights of a lake from now on."""
    held = Hold(restored, reason, by, datetime.now(UTC))
    _write(lake, {"held": True, **vars(held)})
    return held


def release_hold(lake: Lake, by: str) -> Hold | None:
    """End the hold; return it, None where there was none."""
    held = read_hold(lake)
    if held is not None:
        _write(lake, {"held": False, **vars(held), "by": by, "since": datetime.now(UTC)})
    return held


def read_hold(lake: Lake) -> Hold | None:
    """Return the current hold, if any."""
    rows = lake.read_arrow("holds").to_pylist()
    if not rows or not rows[0].pop("held"):
        return None
    return Hold(**rows[0])


def check_not_held(lake: Lake) -> None:
    """Let a night pass or stop it.

    Raises:
        NightHeldError: nights are held.
    """
    held = read_hold(lake)
    if held is not None:
        raise RunsHeldError(
            f"nights are held since {held.since:%Y-%m-%d %H:%M} UTC: {held.by} restored what was served on "
            f"{held.restored} ({held.reason or 'no reason given'}). When the catalogue is good again, run `moon "
            "release` and then the night"
        )


def _write(lake: Lake, row: dict[str, object]) -> None:
    sink = FileSink(lake.storage, "holds", {})
    sink.write_rows([row])
    lake.commit("holds", sink.close(), attempt=None, partition={}, mode="overwrite")
