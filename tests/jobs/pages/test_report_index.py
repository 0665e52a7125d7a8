"""Tests of the pages of runs: one for each that ended, links in both directions, and an index of all."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.pages.report_index import (
    find_report,
    list_reports,
    refresh_reports,
    write_index,
    write_missing_reports,
    write_report,
)  # fmt: skip
from jobs.pages.run_history import KILLED, PUBLISHED, RunSummary
from jobs.settings import Settings
from jobs.state.run_log import make_run_row, record_runs
from tests.jobs.pages.page_reader import PageReader
from tests.jobs.pages.report_pages import HOSTILE, record_killed_run

START = datetime(2026, 1, 1, 2, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(Storage(str(tmp_path / "lake")))


@pytest.fixture
def settings(make_settings) -> Settings:
    return make_settings()


def make_run(day: int) -> RunSummary:
    start = START + timedelta(days=day)
    counts = {"delivered": 10 * day, "unchanged": 10 * day, "reused": 0, "encoded": 0, "kept": 0, "quarantined": 0}
    date = f"2026-01-0{day}"
    return RunSummary(date, f"{date}-r", PUBLISHED, start, start, counts, {"pull": 1.0}, {}, {"pull": {}}, {"pull": {}})


def read_page(lake: Lake, name: str) -> PageReader:
    page = PageReader(Path(lake.storage.uri(name)).read_text())
    page.check()
    return page


def test_pages_are_linked_with_the_ones_before_and_after_in_any_order_of_writing(lake, settings) -> None:
    runs = [make_run(day) for day in (1, 2, 3)]
    write_report(lake, settings, runs[0], runs)
    write_report(lake, settings, runs[2], runs)
    first = "_reports/2026-01-01/2026-01-01-r.html"
    assert read_page(lake, first).links == ["../index.html", "../2026-01-03/2026-01-03-r.html"], (
        "the second has no page"
    )
    write_report(lake, settings, runs[1], runs)
    found = {day: read_page(lake, f"_reports/2026-01-0{day}/2026-01-0{day}-r.html").links[1:] for day in (1, 2, 3)}
    pages = {day: f"../2026-01-0{day}/2026-01-0{day}-r.html" for day in (1, 2, 3)}
    assert found == {1: [pages[2]], 2: [pages[1], pages[3]], 3: [pages[2]]}


def test_a_number_beside_the_run_before_and_the_median(lake, settings) -> None:
    runs = [make_run(day) for day in (1, 3, 2, 4)]
    uri = write_report(lake, settings, runs[3], runs)
    rows = {row[0]: row[1:] for row in PageReader(Path(uri).read_text()).tables[0]}
    assert rows["delivered"] == ["40", "20", "+20 (+100.0%)", "20", "+20 (+100.0%)"]


def test_a_killed_run_gets_its_page_once(lake, settings) -> None:
    record_killed_run(lake, "2026-01-02")
    (uri,) = write_missing_reports(lake, settings)
    assert "Killed during pull" in Path(uri).read_text()
    assert write_missing_reports(lake, settings) == []
    assert refresh_reports(lake, settings) == uri == lake.storage.uri(find_report(lake, "2026-01-02") or "")
    assert find_report(lake, "2026-01-01") is None


def test_a_page_follows_its_run(lake, settings) -> None:
    record_killed_run(lake, "2026-01-02")
    (uri,) = write_missing_reports(lake, settings)
    failed = {"error": "OSError: disk full", "error_type": "OSError", "exit_status": "1", "execution": "killed"}
    record_runs(lake, "2026-01-02", "", [make_run_row("pull", {}, failed, outcome="failed")])
    assert write_missing_reports(lake, settings) == [uri], "its process was slow to say how it ended"
    assert "Failed in pull" in Path(uri).read_text()


def test_an_empty_or_missing_lake_stays_as_it_is(lake, settings, tmp_path) -> None:
    assert refresh_reports(lake, settings) is None and write_missing_reports(lake, settings) == []
    assert list_reports(lake) == set() and not (tmp_path / "lake").exists()


def test_the_index_names_runs_rollouts_and_restores_as_text(lake, settings, tmp_path) -> None:
    rollout = tmp_path / "lake" / "_reports" / "rollouts" / "2026-01-01-moon_1.html"
    rollout.parent.mkdir(parents=True)
    rollout.write_text("<p>")
    details = {"state": "prepared", "before": "moon_0", "after": "moon_1", "reason": HOSTILE, "page": str(rollout)}
    record_runs(lake, "2026-01-01", "", [make_run_row("rollout", {}, details)])
    record_runs(lake, "2026-01-01", "", [make_run_row("restore", {}, {"by": "anna@shop", "reason": "bad prices"})])
    record_runs(lake, "2026-01-01", "", [make_run_row("alias", {}, {}, outcome="started")])
    runs = [make_run(1)]
    write_report(lake, settings, runs[0], runs)
    index = read_page(lake, "_reports/index.html")
    rows = {row[2]: row for row in index.tables[0][1:]}
    assert set(rows) == {"run", "rollout", "restore"}
    assert HOSTILE in rows["rollout"][4] and "moon_0 → moon_1" in rows["rollout"][4]
    assert rows["restore"][3:] == ["✓ Done", "bad prices. by anna@shop"]
    assert rows["run"][4].startswith("Published at 02:00: 0 of 10 products embedded")
    assert set(index.links) == {"2026-01-01/2026-01-01-r.html", "rollouts/2026-01-01-moon_1.html"}
    assert KILLED not in index.text


def test_an_index_without_runs(lake, settings) -> None:
    assert "There is no run yet" in Path(write_index(lake, settings)).read_text()
