"""The hold: blocks nightly runs after a restore until an operator confirms that the catalogue is good again.

It is stored in the lake (table `holds`), so that runs on any machine find it. The stage `plan` stops at a hold, and so
does `upsert` under its lease, for a run that was planned before. Rollback, rollout and re-embedding are not held,
because they serve no new products.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from jobs.errors import NightStoppedError
from jobs.lake.store import Lake
from jobs.lake.writing import FileSink


class RunsHeldError(NightStoppedError):
    """Nightly runs are held after a restore."""


@dataclass(frozen=True)
class Hold:
    """A hold on nightly runs.

    Attributes:
        restored: ISO date whose state is served.
        reason, by, since: reason, operator and time of the hold.
    """

    restored: str
    reason: str
    by: str
    since: datetime

    def as_dict(self) -> dict[str, str]:
        """Return the fields, for JSON."""
        return {**vars(self), "since": self.since.isoformat(timespec="seconds")}


def hold_runs(lake: Lake, restored: str, reason: str, by: str) -> Hold:
    """Hold all nightly runs of a lake and return the hold."""
    held = Hold(restored, reason, by, datetime.now(UTC))
    _write(lake, {"held": True, **vars(held)})
    return held


def release_hold(lake: Lake, by: str) -> Hold | None:
    """End the hold and return it; None if there was none."""
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
    """Check that nightly runs are not held.

    Raises:
        RunsHeldError: they are held.
    """
    held = read_hold(lake)
    if held is not None:
        raise RunsHeldError(
            f"nights are held since {held.since:%Y-%m-%d %H:%M} UTC: {held.by} restored what was served on "
            f"{held.restored} ({held.reason or 'no reason given'}). When the catalogue is good again, run `moon "
            "release` and then the night",
            restored=held.restored,
            held_by=held.by,
            held_since=held.since.isoformat(timespec="seconds"),
            hold_reason=held.reason,
        )


def _write(lake: Lake, row: dict[str, object]) -> None:
    sink = FileSink(lake.storage, "holds", {})
    sink.write_rows([row])
    lake.commit("holds", sink.close(), attempt=None, partition={}, mode="overwrite")
