"""Checks of a page in a real browser: what a person on a phone, in the dark or with a screen reader would meet.

`check_page` opens a page at 390 and 1,400 pixels, light and dark, and fails with a list of everything it found.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page

WIDTHS = (390, 1400)
SCHEMES = ("light", "dark")
HEIGHT = 900

FIND_BROKEN_WORDS = """
() => {
  // A word is broken when its letters stand on two lines. Paths, hashes and commands may break: they are code.
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const broken = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const parent = node.parentElement;
    if (parent.closest('code, pre, script, style, svg, noscript, template')) continue;
    if (!parent.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    for (const word of node.data.matchAll(/[\\p{L}\\p{M}]{2,}/gu)) {
      const range = document.createRange();
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      const lines = new Set([...range.getClientRects()].filter(r => r.width > 0).map(r => Math.round(r.top)));
      if (lines.size > 1) broken.push(word[0]);
    }
  }
  return [...new Set(broken)];
}
"""
"""Script that returns the words of a page whose letters stand on several lines."""

FIND_EMPTY_IMAGES = """
() => [...document.querySelectorAll('img')].filter(i => i.complete && i.naturalWidth === 0).map(i => i.src.slice(0, 80))
"""

MEASURE_WIDTHS = "() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]"


@dataclass
class PageVisit:
    """One opened page and what the browser said while it loaded.

    Attributes:
        page: the page, for further checks.
        problems: console errors, exceptions and requests that leave the page's own site.
    """

    page: Page
    problems: list[str] = field(default_factory=list)


def check_page(
    browser: Browser, address: str, *, images: int = 0, plots: int = 0, screenshots: Path | None = None
) -> None:
    """Open a page at both widths and in both colour schemes; fail with everything that is wrong.

    Args:
        browser: a running Chromium.
        address: file or loopback address of the page.
        images, plots: smallest number of ``img`` and ``svg`` elements that the page must show.
        screenshots: folder for pictures of the whole page; None: no pictures.

    Raises:
        AssertionError: a console error, a foreign request, a horizontal scroll bar, a broken word, an empty image, too
            few images or plots, or a serious finding of axe-core.
    """
    found: list[str] = []
    for scheme in SCHEMES:
        for width in WIDTHS:
            for visit in open_page(browser, address, width=width, scheme=scheme):
                problems = [*visit.problems, *find_problems(visit.page, images=images, plots=plots)]
                found += [f"{width} px, {scheme}: {problem}" for problem in problems]
                if screenshots:
                    name = f"{Path(urlsplit(address).path).stem or 'index'}-{width}-{scheme}.png"
                    visit.page.screenshot(path=screenshots / name, full_page=True)
    assert not found, f"{address}:\n" + "\n".join(found)


def open_page(browser: Browser, address: str, *, width: int = 1400, scheme: str = "light") -> Iterator[PageVisit]:
    """Yield one visit of a page in a browser context of its own, which is closed afterwards."""
    context = browser.new_context(viewport={"width": width, "height": HEIGHT}, color_scheme=scheme)  # type: ignore[arg-type]
    try:
        visit = PageVisit(context.new_page())
        visit.page.on("console", lambda message: _keep_error(visit, message))
        visit.page.on("pageerror", lambda error: visit.problems.append(f"exception: {error}"))
        visit.page.on("request", lambda request: _judge_request(visit, address, request.url))
        visit.page.goto(address, wait_until="load")
        yield visit
    finally:
        context.close()


def find_problems(page: Page, *, images: int = 0, plots: int = 0) -> list[str]:
    """Return what is wrong with the layout, the pictures and the accessibility of an opened page."""
    problems = []
    wide, visible = page.evaluate(MEASURE_WIDTHS)
    if wide > visible:
        problems.append(f"scrolls horizontally: {wide} px of content in {visible} px")
    problems += [f"broken word: {word}" for word in page.evaluate(FIND_BROKEN_WORDS)]
    problems += [f"empty image: {source}" for source in page.evaluate(FIND_EMPTY_IMAGES)]
    for selector, smallest in (("img", images), ("svg", plots)):
        number = page.locator(selector).count()
        if number < smallest:
            problems.append(f"{number} {selector} elements, at least {smallest} expected")
    for violation in Axe().run(page).response["violations"]:
        if violation["impact"] in ("serious", "critical"):
            targets = [str(node["target"]) for node in violation["nodes"][:3]]
            problems.append(f"axe {violation['id']} ({violation['impact']}): {violation['help']}: {', '.join(targets)}")
    return problems


def _keep_error(visit: PageVisit, message: ConsoleMessage) -> None:
    if message.type == "error":
        visit.problems.append(f"console: {message.text}")


def _judge_request(visit: PageVisit, address: str, url: str) -> None:
    """Keep a request that goes anywhere but to the page's own site."""
    wanted, asked = urlsplit(address), urlsplit(url)
    if asked.scheme in ("data", "blob") or (asked.scheme, asked.netloc) == (wanted.scheme, wanted.netloc):
        return
    visit.problems.append(f"request leaves the page: {url[:200]}")
