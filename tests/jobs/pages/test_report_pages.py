"""Tests of the pages of a good, a stopped, a held and a killed run of a real shop, as the stages write them."""

from pathlib import Path

import pytest

from jobs.lake.store import open_lake
from jobs.pages.report_index import find_report
from tests.jobs.pages.page_reader import PageReader
from tests.jobs.pages.report_pages import HOSTILE, KILLED, ReportPages, make_report_pages

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def pages(spark, tiny_checkpoint, tmp_path_factory) -> ReportPages:
    return make_report_pages(spark, tmp_path_factory.mktemp("pages"), str(tiny_checkpoint))


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
