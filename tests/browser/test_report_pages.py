"""Pages of runs and of single products in a real browser: four kinds of run, their index, the data docs, searches."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from pyspark.sql import SparkSession

from jobs.pages.rollout_queries import make_query_cards
from jobs.settings import Settings
from tests.browser.page_checks import check_page, open_page
from tests.jobs.pages.products.product_pages import make_product_pages
from tests.jobs.pages.report_pages import HOSTILE, ReportPages, make_report_pages
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


def test_every_link_of_a_page_leads_to_a_file(browser: Browser, pages: ReportPages) -> None:
    for start in (pages.good, pages.stopped, pages.index):
        for visit in open_page(browser, start.as_uri()):
            links = visit.page.eval_on_selector_all("a[href]", "found => found.map(a => a.href)")
            files = [Path(link.removeprefix("file://").partition("#")[0]) for link in links if link.startswith("file:")]
            assert files
            assert [file for file in files if not file.is_file()] == []
