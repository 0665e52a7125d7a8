"""Says in words how a run ended, what that means for what is served, and which command continues."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date as Date
from datetime import datetime
from zoneinfo import ZoneInfo

from jobs.errors import BY_GATE, LIFT, STOPPED_BY, VERDICT
from jobs.pages.run_history import (
    FAULT,
    HELD,
    INTERRUPTED,
    KILLED,
    PLANNED,
    PUBLISHED,
    RUNNING,
    STOPPED,
    RunSummary,
)

MAX_CAUSE = 300
"""Characters of an error that the verdict repeats; the page has all of it below."""

STEADY_SHIFT = 0.005
"""A smaller share of lost neighbours is shown as none."""

STATUS = {
    PUBLISHED: ("good", "✓", "Published"),
    STOPPED: ("bad", "■", "Stopped"),
    HELD: ("warn", "■", "Held"),
    FAULT: ("bad", "✕", "Failed"),
    INTERRUPTED: ("warn", "■", "Interrupted"),
    KILLED: ("bad", "✕", "Killed"),
    RUNNING: ("run", "●", "Running"),
    PLANNED: ("run", "●", "Planned"),
}
"""Class, symbol and word of each outcome."""


@dataclass(frozen=True)
class Step:
    """One thing to do next: why, and the command (empty without one)."""

    text: str
    command: str = ""


@dataclass(frozen=True)
class Verdict:
    """How a run ended, in words.

    Attributes:
        kind: "good", "warn", "bad" or "run", for the colour.
        symbol: a symbol for the same.
        text: the sentences.
        steps: what to do next; empty if nothing is.
    """

    kind: str
    symbol: str
    text: str
    steps: tuple[Step, ...]


def make_verdict(run: RunSummary, earlier: Sequence[RunSummary], timezone: str) -> Verdict:
    """Return the verdict of a run.

    Args:
        run: the run.
        earlier: the runs before it, the oldest first.
        timezone: time zone of the shop, for times of day.
    """
    served = next((one for one in reversed(earlier) if one.outcome == PUBLISHED), None)
    clock = _Clock(ZoneInfo(timezone), run)
    tell = _STORIES[run.outcome]
    text, steps = tell(run, served, clock)
    kind, symbol, _ = STATUS[run.outcome]
    if run.outcome == PUBLISHED and (run.counts.get("held") or run.counts.get("kept")):
        kind, symbol = "warn", "!"
    return Verdict(kind, symbol, text, tuple(steps))


def format_time(moment: datetime | str, timezone: str) -> str:
    """Return a time, or an ISO text of it, as date, time of day and name of the zone."""
    moment = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return f"{moment.astimezone(ZoneInfo(timezone)):%Y-%m-%d %H:%M:%S %Z}"


class _Clock:
    """Shows times of a run: the time of day, with the date if that is another one than the run's first day."""

    def __init__(self, zone: ZoneInfo, run: RunSummary) -> None:
        self._zone, self._day = zone, run.started_at.astimezone(zone).date()

    def show(self, moment: datetime | str | None) -> str:
        if not moment:
            return "an unknown time"
        moment = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
        local = moment.astimezone(self._zone)
        return f"{local:%H:%M}" if local.date() == self._day else f"{local:%Y-%m-%d %H:%M}"


_Story = tuple[str, list[Step]]


def _tell_published(run: RunSummary, served: RunSummary | None, clock: _Clock) -> _Story:
    counts, details = run.counts, run.details
    products = counts.get("delivered", 0) - counts.get("merged", 0) - counts.get("left_out", 0)
    parts = [f"{counts.get('encoded', 0):,} of {products:,} products embedded"]
    for name, words in (("deleted", "deleted"), ("quarantined", "refused"), ("kept", "kept as they were")):
        if number := counts.get(name, 0):
            what = ("row" if name == "quarantined" else "product") + ("" if number == 1 else "s")
            parts.append(f"{number:,} {what} {words}")
    if shift := details.get("shift"):
        parts.append(_describe_shift(float(shift), run, served))
    verb = "Computed" if details.get("serve", "yes") != "yes" else "Published"
    text = f"{verb} at {clock.show(run.finished_at)}: {', '.join(parts)}"
    if verb == "Computed":
        text += ". It is an older date: readers keep the later one"
    elif served is None:
        text += ". It is the first run that is served"
    return text, _list_published_steps(run)


def _describe_shift(shift: float, run: RunSummary, served: RunSummary | None) -> str:
    before = _name_day(served.date, run.date) if served else "before"
    if shift < STEADY_SHIFT:
        return f"neighbours as {before}"
    return f"products that did not change lost {shift:.1%} of their neighbours of {before}"


def _list_published_steps(run: RunSummary) -> list[Step]:
    counts, date, steps = run.counts, run.date, []
    if counts.get("held"):
        steps.append(
            Step(
                f"{counts['held']:,} products that the delivery lacks stay served. If they are gone, delete them:",
                f"moon nightly --date {date} --allow-deletes 1 --reason TEXT",
            )
        )
    if counts.get("quarantined"):
        steps.append(Step("See which rows were refused and why:", f"moon quarantine --date {date}"))
    if counts.get("kept"):
        steps.append(Step("Photos of kept products cannot be reached now. The next run asks for them again."))
    return steps


def _tell_stopped(run: RunSummary, served: RunSummary | None, clock: _Clock) -> _Story:
    details = run.details
    by = details.get(STOPPED_BY)
    if by:
        text = f"Stopped by {by}: {details.get(VERDICT, '')}"
    else:
        text = f"Stopped in {details['stage']} at {clock.show(run.finished_at)}: {_shorten(details.get('error', ''))}"
    steps = []
    if lift := details.get(LIFT):
        steps.append(Step("If the delivery is wrong, have it delivered again, then run:", _rerun(run)))
        steps.append(Step("If it is right, let this run pass:", f"{_rerun(run)} {lift} --reason TEXT"))
    elif by == BY_GATE:
        steps.append(Step("Have the catalogue delivered again, then run:", _rerun(run)))
        steps.append(Step("If the delivery is right, raise the limit: the error below names its setting. Then run it."))
    else:
        steps.append(Step("Remove the cause, which the error below explains, then run:", _rerun(run)))
    return f"{text}. {_describe_served(run, served)}", steps


def _tell_held(run: RunSummary, served: RunSummary | None, clock: _Clock) -> _Story:
    details = run.details
    reason = details.get("hold_reason") or "no reason given"
    text = f"Held since {clock.show(details.get('held_since'))} by {details.get('held_by', 'an operator')}: {reason}"
    steps = [
        Step("When the catalogue is good again, end the hold:", "moon release"),
        Step("Then run the date:", _rerun(run)),
    ]
    if restored := details.get("restored"):
        return f"{text}. What was served on {restored} is still served", steps
    return f"{text}. {_describe_served(run, served)}", steps


def _tell_fault(run: RunSummary, served: RunSummary | None, clock: _Clock) -> _Story:
    cause = _shorten(run.details.get("error", "no cause is recorded"))
    text = f"Failed in {run.details['stage']} at {clock.show(run.finished_at)}: {cause}"
    return f"{text}. {_describe_served(run, served)}", [_continue(run)]


def _tell_interrupted(run: RunSummary, served: RunSummary | None, clock: _Clock) -> _Story:
    text = f"Interrupted during {run.details['stage']} at {clock.show(run.finished_at)}: it was asked to stop"
    return f"{text}. {_describe_served(run, served)}", [_continue(run)]


def _tell_killed(run: RunSummary, served: RunSummary | None, clock: _Clock) -> _Story:
    text = f"Killed during {run.details['stage']}, after {clock.show(run.details.get('last_sign'))}"
    return f"{text}. {_describe_served(run, served)}", [_continue(run)]


def _tell_running(run: RunSummary, served: RunSummary | None, clock: _Clock) -> _Story:
    text = f"Running since {clock.show(run.started_at)}, in {run.details['stage']} now"
    return f"{text}. {_describe_served(run, served)}", []


def _tell_planned(run: RunSummary, served: RunSummary | None, clock: _Clock) -> _Story:
    changes = run.counts.get("new", 0) + run.counts.get("changed", 0)
    text = f"Planned: {changes:,} products to embed, {run.counts.get('deleted', 0):,} to delete. Its next stage waits"
    return f"{text}. {_describe_served(run, served)}", [_continue(run)]


_STORIES = {
    PUBLISHED: _tell_published,
    STOPPED: _tell_stopped,
    HELD: _tell_held,
    FAULT: _tell_fault,
    INTERRUPTED: _tell_interrupted,
    KILLED: _tell_killed,
    RUNNING: _tell_running,
    PLANNED: _tell_planned,
}


def _describe_served(run: RunSummary, served: RunSummary | None) -> str:
    """Return what readers get after a run that did not publish."""
    if served is None:
        return "Nothing is served yet"
    day = _name_day(served.date, run.date)
    day = f"{day.capitalize()}'s" if not day[0].isdigit() else f"{day}'s"
    if run.details.get("stage") == "upsert":
        return f"{day} vectors are served, with those of this run that were written; the next run corrects them"
    return f"{day} vectors are still served"


def _name_day(day: str, today: str) -> str:
    """Return "yesterday" for the day before a date, else the date."""
    return "yesterday" if (Date.fromisoformat(today) - Date.fromisoformat(day)).days == 1 else day


def _shorten(error: str) -> str:
    """Return the first line of an error without its class."""
    text = error.partition("\n")[0].strip()
    name, colon, rest = text.partition(": ")
    text = rest if colon and name.isidentifier() and name.endswith("Error") else text
    return text.rstrip(".:") if len(text) <= MAX_CAUSE else f"{text[:MAX_CAUSE]}…"


def _rerun(run: RunSummary) -> str:
    return f"moon nightly --date {run.date}"


def _continue(run: RunSummary) -> Step:
    return Step("What it committed stays. Run the date again; it continues where it was:", _rerun(run))
