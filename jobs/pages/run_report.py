"""Renders the page of one run, whatever its outcome, without Spark."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import PurePosixPath

from jobs.lake.store import Lake
from jobs.pages.page import render_page
from jobs.pages.plots import draw_trends
from jobs.pages.run_history import PUBLISHED, RUN_STAGES, RunSummary
from jobs.pages.run_pictures import RunPictures
from jobs.pages.run_tables import ReasonRow, read_category_changes, read_product_lists, read_reason_rows
from jobs.pages.unread import read_unread
from jobs.pages.verdict import format_time, make_verdict
from jobs.settings import Settings

RECORDED_PACKAGES = ("torch", "transformers", "onnxruntime", "pyspark", "deltalake", "pymilvus", "great-expectations")

COUNT_NAMES = {
    "delivered": "delivered", "unchanged": "unchanged", "reused": "reused", "payload": "payload only",
    "encoded": "encoded", "kept": "kept",
    "quarantined": "quarantined", "deleted": "deleted", "held": "deletes held", "stale": "stale", "partial": "partial",
    "left_out": "left out", "merged": "merged rows",
}  # fmt: skip
"""Numbers of a run that a page shows, in order, and their names."""

OPTIONAL_COUNTS = ("payload", "held", "left_out", "merged")
"""Numbers that are shown only where they are not 0."""

MEDIAN_RUNS = 30


@dataclass(frozen=True)
class Compared:
    """One number of a run beside those of earlier runs; None where there is none.

    Attributes:
        name: what it is.
        now, before, median: the number of this run, of the one before, and the median of the last `MEDIAN_RUNS`.
        digits: digits after the point.
    """

    name: str
    now: float
    before: float | None
    median: float | None
    digits: int = 0

    def show(self, value: float | None) -> str:
        """Return a number with separators; "–" for none."""
        return "–" if value is None else f"{value:,.{self.digits}f}"

    def show_change(self, other: float | None) -> str:
        """Return how much more or less the number is than another one, with the change as a share."""
        if other is None:
            return ""
        change = round(self.now - other, self.digits)
        if not change:
            return "±0"
        share = f" ({change / other:+.1%})" if other else ""
        return f"{change:+,.{self.digits}f}{share}"


def render_run_page(
    lake: Lake,
    settings: Settings,
    run: RunSummary,
    earlier: Sequence[RunSummary],
    links: Mapping[str, str],
    pictures: RunPictures | None = None,
) -> str:
    """Return the page of a run as one self-contained HTML document.

    Args:
        lake, settings: lake with the tables of the run; time zone and alias.
        run: the run.
        earlier: the runs before it, the oldest first.
        links: relative links by name to the pages before and after it.
        pictures: parts that only a process with Spark can draw; None leaves them out.
    """
    counts, details = run.counts, run.details
    published = [one for one in earlier if one.outcome == PUBLISHED]
    shown = [name for name in COUNT_NAMES if name in counts and (counts[name] or name not in OPTIONAL_COUNTS)]
    stages = [stage for stage in RUN_STAGES if stage in run.seconds]
    return render_page(
        "report.html.j2",
        run=run,
        counts=counts,
        details=details,
        cards={COUNT_NAMES[name]: counts[name] for name in shown},
        is_complete=run.outcome == PUBLISHED and "unchanged" in counts,
        verdict=make_verdict(run, earlier, settings.timezone),
        facts=_list_facts(run, settings),
        compared=compare_runs(run, published),
        compared_with=published[-1] if published else None,
        median_runs=min(len(published), MEDIAN_RUNS),
        stages=stages,
        stage_seconds={name: _compare_stage(run, published, name) for name in stages},
        categories=read_category_changes(lake, run.date, run.run_id),
        lists=read_product_lists(lake, run.date, run.run_id, details.get("collection", ""), counts),
        reasons=read_reasons(lake, run),
        pictures=pictures,
        unread=read_unread(run),
        trends=draw_trends([*earlier, run][-MEDIAN_RUNS:]),
        data_docs=_find_data_docs(details),
        versions={name: version(name) for name in RECORDED_PACKAGES},
        links=links,
    )


def read_reasons(lake: Lake, run: RunSummary) -> list[ReasonRow]:
    """Return the reasons of a run's refusals; none if it stopped before its delivery was judged."""
    return read_reason_rows(lake, run.date) if "validate" in run.seconds else []


def compare_runs(run: RunSummary, published: Sequence[RunSummary]) -> list[Compared]:
    """Return the numbers of a run beside those of the published runs before it, the oldest first."""
    rows = []
    for name, words in COUNT_NAMES.items():
        if name in run.counts and (run.counts[name] or any(one.counts.get(name) for one in published)):
            rows.append(_compare(words, run.counts[name], [one.counts.get(name) for one in published]))
    if run.outcome == PUBLISHED:
        totals = [one.total_seconds for one in published]
        rows.append(_compare("seconds of all stages", run.total_seconds, totals, digits=1))
        if (rate := measure_rate(run)) is not None:
            rates = [measure_rate(one) for one in published]
            rows.append(_compare("products encoded a second", rate, rates, digits=1))
    return rows


def measure_rate(run: RunSummary) -> float | None:
    """Return the products that the stage encode encoded per second; None if it encoded none."""
    products = run.stage_counts.get("encode", {}).get("products", 0) - int(run.details.get("resumed", 0))
    seconds = run.seconds.get("encode", 0.0)
    return products / seconds if products > 0 and seconds else None


def _compare(name: str, now: float, before: Sequence[float | None], *, digits: int = 0) -> Compared:
    known = [value for value in before[-MEDIAN_RUNS:] if value is not None]
    median = statistics.median(known) if known else None
    return Compared(name, now, before[-1] if before else None, median, digits)


def _compare_stage(run: RunSummary, published: Sequence[RunSummary], stage: str) -> Compared:
    return _compare(stage, run.seconds[stage], [one.seconds.get(stage) for one in published], digits=1)


def _list_facts(run: RunSummary, settings: Settings) -> dict[str, str]:
    """Return what the head of the page says of a run, by name; what is not known is left out."""
    details, collection = run.details, run.details.get("collection")
    facts = {
        "run": run.run_id or f"{run.name} (it ended before it had a plan)",
        "started": format_time(run.started_at, settings.timezone),
        "ended": format_time(run.finished_at, settings.timezone) if run.finished_at else "",
        "last sign of life": details.get("last_sign") and format_time(details["last_sign"], settings.timezone),
        "processes": f"{run.executions}, retries included" if run.executions > 1 else "",
        "started by": details.get("by"),
        "catalogue": details.get("catalog"),
        "collection": f"{details.get('alias', settings.alias)} → {collection}" if collection else "",
        "model": details.get("model"),
        "breaker lifted": details.get("override"),
        "estimated": details.get("estimate"),
        "actual": _describe_actual(run),
    }
    return {name: text for name, text in facts.items() if text}


def _describe_actual(run: RunSummary) -> str:
    """Return the time and the rate of the encoding work that the plan estimated; empty if there was none."""
    rate = measure_rate(run)
    if rate is None:
        return ""
    seconds = run.seconds.get("detect", 0.0) + run.seconds["encode"]
    return f"{seconds:,.0f} s for detect and encode together; {rate:,.1f} products a second in encode"


def _find_data_docs(details: Mapping[str, str]) -> str:
    """Return the link to the page of the gate, relative to the page of the run; empty without one."""
    page = details.get("data_docs")
    return "../../" + "/".join(PurePosixPath(page).parts[-3:]) if page else ""
