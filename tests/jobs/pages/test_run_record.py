"""Tests of the records beside pages: what a run is compared with, and that a damaged one is left out."""

from pathlib import Path

import pytest

from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.pages.run_record import CategoryMean, MapAxes, RunRecord, find_earlier_records, write_record
from jobs.state.plan_record import Plan


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(Storage(str(tmp_path / "lake")))


def make_record(run_id: str, date: str, version: int, collection: str = "c") -> RunRecord:
    return RunRecord(
        run_id, date, collection, "m", version, {"p 1/é": ["p2", '"'], "p3": []},
        {"Bags": CategoryMean(2, [0.5, -0.25])}, MapAxes(2, [0.0, 0.1], [[1.0, 0.0], [0.0, 1.0]]),
    )  # fmt: skip


def find(lake: Lake, run_id: str, date: str, version: int) -> tuple[str | None, str | None]:
    found = find_earlier_records(lake, Plan(date, run_id, "m", "d", "c", version - 1, True), version)
    return found.last and found.last.run_id, found.week and found.week.run_id


def test_a_record_is_read_as_it_was_written(lake: Lake) -> None:
    record = make_record("r1", "2026-01-01", 1)
    assert write_record(lake, record).endswith("_reports/2026-01-01/r1.json")
    assert find_earlier_records(lake, Plan("2026-01-02", "r2", "m", "d", "c", 1, True), 2).last == record


def test_a_run_is_compared_with_the_one_before_it_and_with_last_week(lake: Lake) -> None:
    assert find(lake, "r1", "2026-01-01", 1) == (None, None)
    for day in range(1, 13):
        write_record(lake, make_record(f"r{day}", f"2026-01-{day:02}", day))
    write_record(lake, make_record("of another model", "2026-01-12", 40, "other"))
    assert find(lake, "r13", "2026-01-13", 13) == ("r12", "r6")
    assert find(lake, "r12", "2026-01-12", 12) == ("r11", "r5"), "a page made again is not compared with itself"
    assert find(lake, "r3", "2026-01-03", 3) == ("r2", None)
    # A second run of a date that changed nothing has the same version of the ledger.
    assert find(lake, "again", "2026-01-13", 12) == ("r12", "r6")


def test_a_late_run_of_an_older_date_is_compared_with_older_dates(lake: Lake) -> None:
    for day, version in ((1, 1), (3, 2)):
        write_record(lake, make_record(f"r{day}", f"2026-01-{day:02}", version))
    assert find(lake, "late", "2026-01-02", 3) == ("r1", None)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"run_id": 1}'])
def test_a_damaged_record_is_left_out(lake: Lake, text: str) -> None:
    path = Path(write_record(lake, make_record("r2", "2026-01-02", 2)).removeprefix("file://"))
    write_record(lake, make_record("r1", "2026-01-01", 1))
    path.write_text(text)
    assert find(lake, "r3", "2026-01-03", 3) == ("r1", None)
