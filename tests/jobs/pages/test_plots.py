"""Tests of plots: what a trend shows, and that a drawing is deterministic, self-contained and follows the page."""

import re
from datetime import UTC, datetime, timedelta

from jobs.pages.plots import draw_trends
from jobs.pages.run_history import PUBLISHED, STOPPED, RunSummary
from tests.jobs.pages.page_parts import EVIL, FragmentReader

START = datetime(2026, 1, 1, 3, tzinfo=UTC)


def make_run(day: int, *, outcome: str = PUBLISHED, stayed: str = "", rows: int | None = 500) -> RunSummary:
    start = START + timedelta(days=day)
    return RunSummary(
        date=start.date().isoformat(), run_id=f"r{day}", outcome=outcome, started_at=start, finished_at=start,
        counts={} if rows is None else {"delivered": rows + day, "quarantined": day},
        seconds={"pull": 1.5, "encode": 30.0 + day},
        details={"error": EVIL, **({"neighbours_stayed": stayed} if stayed else {})}, stage_counts={},
    )  # fmt: skip


HISTORY = [make_run(day, stayed=f"{1 - day / 100}") for day in range(28)]
HISTORY += [make_run(28, outcome=STOPPED), make_run(29, outcome=STOPPED, rows=None)]


def test_a_trend_has_a_point_for_each_run_that_has_the_number():
    page = FragmentReader(draw_trends(HISTORY))
    titles = [text for text in page.texts if re.match(r"2026-01-\d\d: ", text)]
    assert sum("(stopped)" in text for text in titles) == 1 + 1 + 2 + 0
    assert len(titles) == 29 + 29 + 30 + 28
    assert "2026-01-28: 527 (published)" in titles and "2026-01-28: 27.0 (published)" in titles
    labels = page.list_values("aria-label")
    assert "Rows delivered of 30 runs: 500 on 2026-01-01, 528 on 2026-01-29" in labels
    assert page.count("svg") == 4 and page.list_values("role").count("img") == 4
    assert page.count("tr") == 31, "the numbers are also a table"


def test_drawings_are_the_same_each_time_and_share_no_id():
    page = draw_trends(HISTORY)
    assert page == draw_trends(HISTORY)
    ids = re.findall(r' id="([^"]+)"', page)
    assert ids and len(ids) == len(set(ids))
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', page))
    assert used <= set(ids), "a reference leads nowhere"


def test_a_drawing_takes_the_colours_of_the_page_and_nothing_from_elsewhere():
    page = draw_trends(HISTORY)
    assert "currentColor" in page and "var(--plot-line)" in page
    assert "#010203" not in page and "font-family" not in page and "DejaVu" not in page
    assert "<metadata" not in page and "<!DOCTYPE" not in page and "<style" not in page
    assert not re.findall(r'(?:src|href)="(?!#)', page)
    assert len(page) < 100_000


def test_one_run_has_no_trend():
    assert "second run" in draw_trends(HISTORY[:1])
    assert "<svg" not in draw_trends([])
