"""Tests of pages: values are shown as text, a missing value is an error, and the page is in the lake under its name."""

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.pages.page import render_page, write_page


def test_a_page_is_written_under_its_name_and_its_uri_is_returned(tmp_path: Path) -> None:
    lake = Lake(Storage(str(tmp_path / "lake")))
    uri = write_page(lake, "_reports/2026-01-02/é b.html", "<p>ä</p>")
    assert (tmp_path / "lake" / "_reports" / "2026-01-02" / "é b.html").read_text() == "<p>ä</p>"
    assert uri == lake.storage.uri("_reports/2026-01-02/é b.html")


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render_page("report.html.j2", date="2026-01-02")
