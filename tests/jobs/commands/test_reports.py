"""Tests of `moon report`: it prints, opens and serves the page of a run, and writes one that is missing."""

import json
import webbrowser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.errors import NightStoppedError, UsageError
from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.state.run_log import make_start_row, record_runs
from tests.jobs.pages.report_pages import record_killed_run


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setenv("MOON_LAKE", str(tmp_path / "lake"))
    return Lake(Storage(str(tmp_path / "lake")))


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["report", *arguments])
    if result.exception:
        raise result.exception
    return result.stdout


def test_the_page_of_a_killed_run_is_written_printed_and_opened(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    record_killed_run(lake, "2026-01-02")
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    path = Path(run("--date", "2026-01-02", "--open").strip())
    assert "Killed during pull" in path.read_text() and opened == [path.as_uri()]
    assert json.loads(run("--json")) == {"page": str(path), "index": str(path.parents[1] / "index.html")}


def test_a_scheduler_knows_that_a_run_of_another_machine_has_ended(lake: Lake) -> None:
    start = make_start_row("e", ("pull",), {"host": "elsewhere"})
    details = {**dict(start["details"]), "host": "elsewhere"}  # type: ignore[call-overload]
    record_runs(lake, "2026-01-02", "", [{**start, "details": list(details.items())}])
    page = Path(run("--date", "2026-01-02").strip())
    assert "Running since" in page.read_text()
    assert Path(run("--date", "2026-01-02", "--ended").strip()) == page and "Killed during pull" in page.read_text()


def test_what_it_refuses(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(NightStoppedError, match=r"no run of 2026-01-02 in the lake .*run `moon nightly` first"):
        run("--date", "2026-01-02")
    with pytest.raises(UsageError, match="--ended says that a date's run has ended: add --date"):
        run("--ended")
    assert not (tmp_path / "lake").exists(), "it created nothing"
