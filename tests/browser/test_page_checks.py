"""The checks of pages find what they are for: each planted fault is named, a sound page passes."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.page_checks import check_page

pytestmark = pytest.mark.long

SOUND = "<main><h1>Report</h1><p>All rows are accounted for.</p></main>"

FAULTS = {
    "broken word: validation": '<p style="width: 3em; word-break: break-all">validation</p>',
    "scrolls horizontally": '<div style="width: 3000px">wide</div>',
    "request leaves the page": '<img alt="a" src="http://127.0.0.1:9/a.png">',
    "empty image": '<img alt="a" src="missing.png">',
    "console": "<script>console.error('a fault')</script>",
    "exception": "<script>undefinedFunction()</script>",
    "axe color-contrast": '<p style="color: #eee; background: #fff">pale</p>',
    "axe image-alt": '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==">',
}


def write_page(folder: Path, body: str) -> str:
    """Write a document with a body and return its address."""
    page = folder / "page.html"
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Page</title>'
    page.write_text(f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>')
    return page.as_uri()


def test_sound_page_passes(browser: Browser, tmp_path: Path) -> None:
    check_page(browser, write_page(tmp_path, SOUND))


def test_every_planted_fault_is_named(browser: Browser, tmp_path: Path) -> None:
    with pytest.raises(AssertionError) as caught:
        check_page(browser, write_page(tmp_path, f"<main><h1>Report</h1>{''.join(FAULTS.values())}</main>"))
    assert [fault for fault in FAULTS if fault not in str(caught.value)] == []


def test_missing_pictures_and_plots_are_counted(browser: Browser, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"0 img elements, at least 2 expected[\s\S]*0 svg elements"):
        check_page(browser, write_page(tmp_path, SOUND), images=2, plots=1)
