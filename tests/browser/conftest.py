"""A real browser for the tests of pages."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without a window; the tests are skipped where it is not installed.

    It lives as long as a module, because Playwright keeps an event loop in this thread, in which the tests of other
    modules could not start theirs.
    """
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no Chromium here: `apt-get install chromium` as .ci/run does")
    with sync_playwright() as playwright:
        # Chromium refuses its sandbox to root, who runs the tests in CI.
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()
