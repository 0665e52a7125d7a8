"""Writes the pages of runs below ``_reports/`` with their index and the links between them, and finds them again."""

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pyarrow import fs

from jobs.lake.store import Lake
from jobs.pages.page import REPORTS_FOLDER, render_page, write_page
from jobs.pages.run_history import (
    ENDED_BADLY,
    PUBLISHED,
    RUN_STAGES,
    RunSummary,
    read_run_rows,
    summarise_runs,
)
from jobs.pages.run_pictures import RunPictures
from jobs.pages.run_report import render_run_page
from jobs.pages.verdict import STATUS, format_time, make_verdict
from jobs.settings import Settings
from jobs.state.run_log import EXECUTION, FAILED, RUN_STAGE, STARTED

log = logging.getLogger(__name__)

INDEX_PAGE = f"{REPORTS_FOLDER}/index.html"
MAX_ENTRIES = 2_000
"""Runs and operations that the index names."""

MAX_CHECKED = 30
"""Latest runs whose pages are written if they are missing."""

EARLIER, LATER = "← run before", "run after →"

_LINKS = re.compile(r"<!--links-->.*?<!--/links-->", re.DOTALL)
_STATE = re.compile(r'<meta name="moon-run" content="([^"]*)">')
_HEAD_BYTES = 1_000


@dataclass(frozen=True)
class IndexEntry:
    """One line of the index; ``link`` is empty where there is no page."""

    started: str
    date: str
    what: str
    kind: str
    symbol: str
    word: str
    text: str
    link: str


def write_report(
    lake: Lake, settings: Settings, run: RunSummary, runs: Sequence[RunSummary], pictures: RunPictures | None = None
) -> str:
    """Write the page of a run, link it with the pages before and after it, write the index; return the page's URI.

    Args:
        lake, settings: lake of the run; time zone and alias.
        run: the run.
        runs: all runs of the lake, the oldest first; the run itself is replaced by `run`.
        pictures: parts that only a process with Spark can draw.
    """
    runs = [run if one.name == run.name else one for one in runs]
    if run not in runs:
        runs.append(run)
    place = runs.index(run)
    pages = list_reports(lake)
    links = _make_links(runs, place, pages)
    uri = write_page(lake, name_page(run), render_run_page(lake, settings, run, runs[:place], links, pictures))
    pages.add(name_page(run))
    for name in links:
        _link_neighbour(lake, runs, place, pages, step=-1 if name == EARLIER else 1)
    write_index(lake, settings, runs)
    return uri


def write_missing_reports(lake: Lake, settings: Settings, *, has_ended: bool = False, date: str = "") -> list[str]:
    """Write the pages of recent runs that ended without one, such as killed runs; return the URIs.

    Args:
        lake, settings: as for `write_report`.
        has_ended: whether the caller knows that no process works on the date any more.
        date: with it, also the page of the date's run that still runs or waits.
    """
    rows = read_run_rows(lake)
    runs = summarise_runs(rows)
    if has_ended and date:
        ended = summarise_runs(rows, has_ended=True)
        runs = [new if new.date == date else old for new, old in zip(ended, runs, strict=True)]
    return _write_missing(lake, settings, runs, list_reports(lake), date)


def _write_missing(
    lake: Lake, settings: Settings, runs: list[RunSummary], pages: set[str], date: str = ""
) -> list[str]:
    """Write the pages that `write_missing_reports` wants of some runs; return their URIs."""
    written = []
    for run in runs[-MAX_CHECKED:]:
        is_wanted = run.outcome in ENDED_BADLY or (run.date == date and run.outcome != PUBLISHED)
        if is_wanted and (name_page(run) not in pages or _read_state(lake, run) != run.state):
            written.append(write_report(lake, settings, run, runs))
    return written


def write_report_of_execution(
    lake: Lake,
    settings: Settings,
    execution: str,
    draw: Callable[[RunSummary], RunPictures | None] = lambda _: None,
) -> str | None:
    """Write the page of the run that an execution was part of; return its URI, None if it is no nightly run.

    Args:
        lake, settings: as for `write_report`.
        execution: id of the execution.
        draw: returns the parts that need Spark.
    """
    runs = summarise_runs(read_run_rows(lake))
    run = next((one for one in runs if one.details.get(EXECUTION) == execution), None)
    return write_report(lake, settings, run, runs, draw(run)) if run else None


def write_index(lake: Lake, settings: Settings, runs: Sequence[RunSummary] | None = None) -> str:
    """Write the index of all runs, rollouts and restores, and return its URI."""
    rows = read_run_rows(lake)
    runs = summarise_runs(rows) if runs is None else runs
    pages = list_reports(lake)
    entries = [*_list_runs(runs, settings, pages), *_list_operations(rows, settings, pages)]
    entries.sort(key=lambda pair: pair[0], reverse=True)
    page = render_page(
        "report_index.html.j2",
        alias=settings.alias,
        timezone=settings.timezone,
        entries=[entry for _, entry in entries[:MAX_ENTRIES]],
        hidden=max(0, len(entries) - MAX_ENTRIES),
    )
    return write_page(lake, INDEX_PAGE, page)


def update_index(lake: Lake, settings: Settings) -> None:
    """Write the index again after an action of an operator; the action stands where that fails."""
    try:
        write_index(lake, settings)
    except Exception as error:  # any store error, or damage of a table
        log.warning("the index of the runs could not be written: %s", error)


def refresh_reports(lake: Lake, settings: Settings) -> str | None:
    """Write missing pages and return the URI of the latest run's page; None if there is none, or it cannot be found.

    It raises nothing: neither a run nor a monitor may fail because of a page.
    """
    try:
        runs, pages = summarise_runs(read_run_rows(lake)), list_reports(lake)
        written = _write_missing(lake, settings, runs, pages)
        name = _find_page(runs, list_reports(lake) if written else pages)
    except Exception as error:  # any store error, or damage of a table
        log.warning("pages of runs could not be written: %s", error)
        return None
    return lake.storage.uri(name) if name else None


def list_reports(lake: Lake) -> set[str]:
    """Return the names of all pages of runs and rollouts, relative to the lake's root."""
    filesystem, root = lake.storage.open()
    selector = fs.FileSelector(f"{root}/{REPORTS_FOLDER}", recursive=True, allow_not_found=True)
    found = filesystem.get_file_info(selector)
    return {info.path[len(root) + 1 :] for info in found if info.is_file and info.path.endswith(".html")}


def find_report(lake: Lake, date: str | None = None) -> str | None:
    """Return the name of the page of the latest run, of one date if it is given; None if there is none."""
    runs = [run for run in summarise_runs(read_run_rows(lake)) if date in (None, run.date)]
    return _find_page(runs, list_reports(lake))


def _find_page(runs: Sequence[RunSummary], pages: set[str]) -> str | None:
    return next((name for name in map(name_page, reversed(runs)) if name in pages), None)


def name_page(run: RunSummary) -> str:
    """Return the name of a run's page, relative to the lake's root."""
    return f"{REPORTS_FOLDER}/{run.date}/{run.name}.html"


def _make_links(runs: Sequence[RunSummary], place: int, pages: set[str]) -> dict[str, str]:
    """Return the links to the nearest pages before and after a run, by their texts."""
    before = next((one for one in reversed(runs[:place]) if name_page(one) in pages), None)
    after = next((one for one in runs[place + 1 :] if name_page(one) in pages), None)
    found = {EARLIER: before, LATER: after}
    return {name: f"../{one.date}/{one.name}.html" for name, one in found.items() if one}


def _link_neighbour(lake: Lake, runs: Sequence[RunSummary], place: int, pages: set[str], *, step: int) -> None:
    """Write the links of the nearest page before (step -1) or after (1) a run again; its other contents stay."""
    there = place + step
    while name_page(runs[there]) not in pages:
        there += step
    name = name_page(runs[there])
    filesystem, root = lake.storage.open()
    with filesystem.open_input_stream(f"{root}/{name}") as stream:
        page = stream.read().decode()
    links = render_page("_links.html.j2", links=_make_links(runs, there, pages))
    changed = _LINKS.sub(lambda _: _LINKS.search(links)[0], page, count=1)  # type: ignore[index]
    if changed != page:
        write_page(lake, name, changed)


def _read_state(lake: Lake, run: RunSummary) -> str:
    """Return the state of a run that its page shows; empty for a page of an earlier release."""
    filesystem, root = lake.storage.open()
    with filesystem.open_input_stream(f"{root}/{name_page(run)}") as stream:
        found = _STATE.search(stream.read(_HEAD_BYTES).decode(errors="replace"))
    return found[1] if found else ""


_Entry = tuple[datetime, IndexEntry]


def _list_runs(runs: Sequence[RunSummary], settings: Settings, pages: set[str]) -> Iterator[_Entry]:
    for place, run in enumerate(runs):
        verdict = make_verdict(run, runs[:place], settings.timezone)
        link = f"{run.date}/{run.name}.html" if name_page(run) in pages else ""
        time = format_time(run.started_at, settings.timezone)[:16]
        word = STATUS[run.outcome][2]
        entry = IndexEntry(time, run.date, "run", verdict.kind, verdict.symbol, word, f"{verdict.text}.", link)
        yield run.started_at, entry


def _list_operations(rows: Sequence[dict[str, Any]], settings: Settings, pages: set[str]) -> Iterator[_Entry]:
    """Yield the actions of operators: rollouts, restores, moves of the alias and others that `runs` has."""
    for row in rows:
        if row["stage"] in (RUN_STAGE, *RUN_STAGES) or row["outcome"] == STARTED:
            continue
        details = dict(row["details"] or ())
        failed = row["outcome"] == FAILED
        page = "/".join(details.get("page", "").split("/")[-3:])
        time = format_time(row["finished_at"].astimezone(UTC), settings.timezone)[:16]
        shown = [details[name] for name in ("state", "verb", "reason", "error") if details.get(name)]
        moved = f"{details['before']} → {details['after']}" if details.get("after") else ""
        by = f"by {details['by']}" if details.get("by") else ""
        text = ". ".join(part for part in (" ".join(shown), moved, by) if part)
        link = page.removeprefix(f"{REPORTS_FOLDER}/") if page in pages else ""
        kind, symbol, word = ("bad", "✕", "Failed") if failed else ("good", "✓", "Done")
        yield row["finished_at"], IndexEntry(time, row["date"], row["stage"], kind, symbol, word, text, link)
