"""The web page of examples/service.py in a real browser, on a real collection: a search and a photo."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from PIL import Image
from playwright.sync_api import Browser, Page

from examples.service import Shop, create_app
from tests.browser.page_checks import SCHEMES, WIDTHS, find_problems, open_page
from tests.two_models import serve_two_models

pytestmark = pytest.mark.long

START_SECONDS = 60


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the page on a free port of loopback and yield its address."""
    folder = tmp_path_factory.mktemp("service")
    Image.new("RGB", (64, 48), (180, 20, 30)).save(folder / "boot-1.jpg")
    with serve_two_models(folder, "") as served:
        shop = Shop(served.client, "products", pictures=str(folder / "{product_id}-*.jpg"))
        server = uvicorn.Server(uvicorn.Config(create_app(shop), host="127.0.0.1", port=0, log_level="warning"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not server.started:
            assert time.monotonic() < deadline, "the service does not start"
            time.sleep(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/"
        server.should_exit = True
        thread.join(START_SECONDS)


def search(page: Page, text: str) -> None:
    """Search for a text and wait for the hits."""
    page.get_by_label("Text").fill(text)
    page.get_by_label("Text").press("Enter")
    page.locator("#hits li").first.wait_for()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_hits_are_shown_soundly(browser: Browser, address: str, width: int, scheme: str) -> None:
    for visit in open_page(browser, address, width=width, scheme=scheme):
        search(visit.page, "red hiking boot")
        assert "red hiking boot" in visit.page.locator("#hits li").first.inner_text()
        assert [*visit.problems, *find_problems(visit.page, images=1)] == []


def test_a_hostile_title_is_text_and_a_photo_is_a_query(browser: Browser, address: str, tmp_path: Path) -> None:
    Image.new("RGB", (96, 96), (180, 20, 30)).save(tmp_path / "query.png")
    for visit in open_page(browser, address):
        search(visit.page, "<script>alert(1)</script>")
        assert visit.page.get_by_text("<script>alert(1)</script>").count() > 0
        visit.page.get_by_label("Text").fill("")
        visit.page.get_by_label("Photo").set_input_files(tmp_path / "query.png")
        visit.page.get_by_role("button", name="Search").click()
        visit.page.get_by_text("like the photo").wait_for()
        assert visit.problems == []
