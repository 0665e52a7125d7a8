"""Makes the pages of a good, a stopped, a held and a killed run, for tests that read or open them."""

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.datasets.demo_catalog import write_demo_catalog
from jobs.errors import NightStoppedError
from jobs.lake.store import Lake, open_lake
from jobs.pages.report_index import write_missing_reports
from jobs.settings import Settings
from jobs.stages.runner import NIGHTLY_STAGES, run_stages
from jobs.state.hold import hold_runs, release_hold
from jobs.state.run_context import RunContext
from jobs.state.run_log import make_start_row, record_runs

FIRST, GOOD, STOPPED, HELD, KILLED = (f"2026-03-0{day}" for day in range(1, 6))
PRODUCTS = 24
HOSTILE = '<script>alert(1)</script> "& [/b]'
"""A title that must show as text everywhere."""


@dataclass(frozen=True)
class ReportPages:
    """Pages in one lake, and its settings; ``first`` is the first run, ``good`` the second."""

    settings: Settings
    first: Path
    good: Path
    stopped: Path
    held: Path
    killed: Path
    data_docs: Path
    index: Path

    @property
    def runs(self) -> dict[str, Path]:
        return {name: getattr(self, name) for name in ("first", "good", "stopped", "held", "killed")}


def make_report_pages(spark: SparkSession, folder: Path, checkpoint: str | None = None) -> ReportPages:
    """Run five dates of a small shop: two good ones, a bad delivery, a held one, and one that is killed.

    Args:
        spark: session for the stages.
        folder: empty folder for shop, lake and collection.
        checkpoint: model; None: the shipped one.
    """
    shop = folder / "shop"
    write_demo_catalog(shop, products=PRODUCTS, days=2, seed=7, start=date.fromisoformat(FIRST), broken=True, workers=1)
    _deliver(shop, GOOD, GOOD, hostile_titles=2)
    for day in (HELD, KILLED):
        _deliver(shop, GOOD, day)
    _deliver(shop, GOOD, STOPPED, empty_titles=PRODUCTS - 4)
    settings = Settings(
        _env_file=None,
        lake=str(folder / "lake"),
        milvus=str(folder / "milvus.db"),
        catalog=str(shop / "{date}" / "catalog.jsonl"),
        mapping=str(shop / "mapping.toml"),
        model=checkpoint,
        max_refusals=0.9,
    )
    lake = open_lake(settings)
    for day in (FIRST, GOOD):
        run_stages(RunContext(spark, lake, settings, day), NIGHTLY_STAGES)
    for day in (STOPPED, HELD):
        if day == HELD:
            hold_runs(lake, GOOD, f"bad prices {HOSTILE}", "anna@shop")
        with pytest.raises(NightStoppedError):
            run_stages(RunContext(spark, lake, settings, day), NIGHTLY_STAGES)
    release_hold(lake, "anna@shop")
    record_killed_run(lake, KILLED)
    write_missing_reports(lake, settings)
    pages = {day: list((folder / "lake" / "_reports" / day).glob("*.html")) for day in _list_dates()}
    assert all(len(found) == 1 for found in pages.values()), pages
    docs = max((folder / "lake" / "_data_docs" / STOPPED).glob("*.html"))
    return ReportPages(
        settings, *(pages[day][0] for day in _list_dates()), docs, folder / "lake" / "_reports" / "index.html"
    )


def record_killed_run(lake: Lake, day: str) -> None:
    """Record the start of a run in a process that has ended since without a trace."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    start = make_start_row("killed", NIGHTLY_STAGES, {"catalog": "shop/catalog.jsonl"})
    details = dict(start["details"]) | {"pid": str(process.pid)}  # type: ignore[call-overload]
    record_runs(lake, day, "", [{**start, "details": list(details.items())}])


def _list_dates() -> tuple[str, ...]:
    return FIRST, GOOD, STOPPED, HELD, KILLED


def _deliver(shop: Path, source: str, day: str, *, hostile_titles: int = 0, empty_titles: int = 0) -> None:
    """Write a date's catalogue from another one's, with hostile or empty titles in its first rows."""
    (shop / day).mkdir(exist_ok=True)
    lines = (shop / source / "catalog.jsonl").read_text().splitlines()
    for number, line in enumerate(lines[: max(hostile_titles, empty_titles)]):
        row = json.loads(line)
        title = next(name for name in ("title", "name") if name in row)
        row[title] = HOSTILE if number < hostile_titles else ""
        lines[number] = json.dumps(row)
    (shop / day / "catalog.jsonl").write_text("\n".join(lines) + "\n")
