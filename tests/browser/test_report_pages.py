"""Pages of runs and of single products, as a reader and as a real browser see them.

A good, a stopped, a held and a killed run of a real shop, their index, the data docs, a rollout, explain, search.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from pyspark.sql import SparkSession

from jobs.lake.store import open_lake
from jobs.pages.report_index import find_report
from jobs.pages.rollout_queries import make_query_cards
from jobs.settings import Settings
from tests.browser.page_checks import check_page, open_page
from tests.jobs.pages.page_reader import PageReader
from tests.jobs.pages.products.product_pages import make_product_pages
from tests.jobs.pages.report_pages import HOSTILE, KILLED, ReportPages, make_report_pages
from tests.jobs.pages.rollout_page import COUNTS, draw_rollout, make_context, make_row

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def pages(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> ReportPages:
    return make_report_pages(spark, tmp_path_factory.mktemp("reports"))


@pytest.mark.parametrize("kind", ["good", "stopped", "held", "killed"])
def test_page_of_a_run_is_sound(browser: Browser, pages: ReportPages, kind: str) -> None:
    expected = {"images": 10, "plots": 2} if kind == "good" else {}
    check_page(browser, pages.runs[kind].as_uri(), **expected)
    assert pages.runs[kind].stat().st_size <= 5 << 20


@pytest.mark.parametrize("name", ["index", "data_docs"])
def test_other_pages_are_sound(browser: Browser, pages: ReportPages, name: str) -> None:
    check_page(browser, getattr(pages, name).as_uri())


def test_pages_of_products_are_sound(browser: Browser, pages: ReportPages, tmp_path: Path) -> None:
    made = make_product_pages(pages.settings, tmp_path, "demo-7-000000", HOSTILE)
    for page in made.values():
        check_page(browser, page.as_uri(), images=2)
    for visit in open_page(browser, made["search"].as_uri()):
        assert visit.page.get_by_text(HOSTILE).count() > 0


def test_page_of_a_rollout_is_sound(
    browser: Browser, tmp_path: Path, make_settings: Callable[..., Settings], photo: Callable[..., bytes]
) -> None:
    context = make_context(tmp_path, make_settings, photo)
    found = {**COUNTS, "changed": [make_row(0, [1, 2, 3], [3, 4, 1])], "typical": [make_row(5, [6, 7], [8])]}
    page = tmp_path / "rollout.html"
    page.write_text(draw_rollout(found, make_query_cards(context, found)))
    check_page(browser, page.as_uri(), images=6)


def test_hostile_title_shows_as_text(browser: Browser, pages: ReportPages) -> None:
    for visit in open_page(browser, pages.good.as_uri()):
        assert visit.page.get_by_text(HOSTILE).count() > 0
        assert visit.problems == []


def read(path: Path) -> PageReader:
    page = PageReader(path.read_text())
    page.check()
    return page


def test_every_page_is_well_formed_stands_alone_and_has_no_dead_link(pages: ReportPages) -> None:
    for path in (*pages.runs.values(), pages.index, pages.data_docs):
        for link in read(path).links:
            assert link.startswith("data:image/") or (path.parent / link).resolve().is_file(), (path, link)


def test_the_verdicts(pages: ReportPages) -> None:
    text = {name: read(path).text for name, path in pages.runs.items()}
    assert "products embedded" in text["first"] and "It is the first run that is served." in text["first"]
    assert ("Published at" in text["good"] and " of yesterday" in text["good"]) or "as yesterday" in text["good"]
    assert "Stopped by the gate: 62.5% of titles are empty, the limit is 31.2%. Yesterday's vectors" in text["stopped"]
    assert f"by anna@shop: bad prices {HOSTILE}. What was served on 2026-03-02 is still served." in text["held"]
    assert "Killed during pull" in text["killed"] and "moon nightly --date 2026-03-05" in text["killed"]


def test_a_hostile_title_is_text_in_the_page_of_a_good_run(pages: ReportPages) -> None:
    page = read(pages.good)
    assert HOSTILE in page.text and page.html.count("data:image/") > 5


def test_the_page_of_a_stopped_run_links_to_the_data_docs(pages: ReportPages) -> None:
    links = {(pages.stopped.parent / link).resolve() for link in read(pages.stopped).links}
    assert pages.data_docs in links
    assert "✕ Failed" in read(pages.data_docs).text


def test_all_are_in_a_row_and_in_the_index(pages: ReportPages) -> None:
    runs = list(pages.runs.values())
    for place, path in enumerate(runs):
        links = [(path.parent / link).resolve() for link in read(path).links if link.startswith("../2026")]
        assert links == [*runs[max(0, place - 1) : place], *runs[place + 1 : place + 2]]
    assert [row[1] for row in read(pages.index).tables[0][1:]] == [path.parent.name for path in reversed(runs)]
    assert find_report(open_lake(pages.settings)) == f"_reports/{KILLED}/{pages.killed.name}"
