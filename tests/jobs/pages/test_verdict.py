"""Tests of the verdict: how a run ended, what readers get, and the command that continues."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

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
)  # fmt: skip
from jobs.pages.verdict import make_verdict

START = datetime(2026, 1, 2, 2, tzinfo=UTC)
COUNTS = {"delivered": 519, "encoded": 49, "quarantined": 11, "deleted": 0, "kept": 0}


def make_run(
    outcome: str, date: str = "2026-01-02", counts: dict[str, int] | None = None, **details: str
) -> RunSummary:
    end = START + timedelta(minutes=72)
    return RunSummary(date, "r1", outcome, START, end, COUNTS if counts is None else counts, {}, details)


EARLIER = [make_run(PUBLISHED, "2026-01-01"), make_run(STOPPED, "2026-01-01")]
GATE = {"stage": "validate", "stopped_by": "the gate", "verdict": "58% of titles are empty, the limit is 20%"}
HOLD = {"stage": "plan", "held_since": "2026-01-01T14:02:00+00:00", "held_by": "anna@shop", "restored": "2025-12-31"}
RERUN = "moon nightly --date 2026-01-02"


@pytest.mark.parametrize(
    ("run", "text", "commands"),
    [
        (
            make_run(PUBLISHED, shift="0.001"),
            "Published at 03:12: 49 of 519 products embedded, 11 rows refused, neighbours as yesterday",
            ["moon quarantine --date 2026-01-02"],
        ),
        (
            make_run(PUBLISHED, counts={"delivered": 9, "deleted": 1}, shift="0.031"),
            "Published at 03:12: 0 of 9 products embedded, 1 product deleted, products that did not change lost 3.1% "
            "of their neighbours of yesterday",
            [],
        ),
        (
            make_run(PUBLISHED, counts={"delivered": 9}, serve="no"),
            "Computed at 03:12: 0 of 9 products embedded. It is an older date: readers keep the later one",
            [],
        ),
        (
            make_run(STOPPED, **GATE),
            "Stopped by the gate: 58% of titles are empty, the limit is 20%. Yesterday's vectors are still served",
            [RERUN, ""],
        ),
        (
            make_run(STOPPED, stage="plan", stopped_by="a breaker", verdict="too many", lift="--allow-deletes 0.2"),
            "Stopped by a breaker: too many. Yesterday's vectors are still served",
            [RERUN, f"{RERUN} --allow-deletes 0.2 --reason TEXT"],
        ),
        (
            make_run(STOPPED, stage="pull", error="NightStoppedError: cannot read it.\nmore"),
            "Stopped in pull at 03:12: cannot read it. Yesterday's vectors are still served",
            [RERUN],
        ),
        (
            make_run(HELD, hold_reason="bad prices", **HOLD),
            "Held since 2026-01-01 14:02 by anna@shop: bad prices. What was served on 2025-12-31 is still served",
            ["moon release", RERUN],
        ),
        (
            make_run(KILLED, stage="encode", last_sign="2026-01-02T02:10:00+00:00"),
            "Killed during encode, after 02:10. Yesterday's vectors are still served",
            [RERUN],
        ),
        (
            make_run(KILLED, stage="upsert", last_sign="2026-01-02T02:10:00+00:00"),
            "Killed during upsert, after 02:10. Yesterday's vectors are served, with those of this run that were "
            "written; the next run corrects them",
            [RERUN],
        ),
        (
            make_run(INTERRUPTED, stage="encode"),
            "Interrupted during encode at 03:12: it was asked to stop. Yesterday's vectors are still served",
            [RERUN],
        ),
        (
            make_run(FAULT, stage="encode", error="OSError: No space left on device"),
            "Failed in encode at 03:12: No space left on device. Yesterday's vectors are still served",
            [RERUN],
        ),
        (
            make_run(RUNNING, stage="encode"),
            "Running since 02:00, in encode now. Yesterday's vectors are still served",
            [],
        ),
        (
            make_run(PLANNED, counts={"new": 40, "changed": 9}),
            "Planned: 49 products to embed, 0 to delete. Its next stage waits. Yesterday's vectors are still served",
            [RERUN],
        ),
    ],
    ids=lambda value: value.outcome if isinstance(value, RunSummary) else "",
)
def test_each_ending_in_words(run: RunSummary, text: str, commands: list[str]) -> None:
    verdict = make_verdict(run, EARLIER, "UTC")
    assert verdict.text == text
    assert [step.command for step in verdict.steps] == commands


def test_times_are_those_of_the_shop_and_the_first_run_says_so() -> None:
    verdict = make_verdict(make_run(PUBLISHED), [], "Europe/Berlin")
    assert verdict.text.startswith("Published at 04:12: ") and verdict.text.endswith(
        "It is the first run that is served"
    )
    assert make_verdict(make_run(FAULT, stage="pull", error="x"), [], "UTC").text.endswith("Nothing is served yet")


def test_kept_and_held_products_are_a_warning_with_the_command_that_deletes_them() -> None:
    verdict = make_verdict(make_run(PUBLISHED, counts={**COUNTS, "held": 3, "kept": 2}), EARLIER, "UTC")
    assert verdict.kind == "warn"
    assert "moon nightly --date 2026-01-02 --allow-deletes 1 --reason TEXT" in [step.command for step in verdict.steps]


def test_a_long_error_is_cut() -> None:
    run: Any = make_run(FAULT, stage="pull", error="x" * 5000)
    assert len(make_verdict(run, [], "UTC").text) < 400
