"""The site of the documents: built without warnings, complete, and readable in a browser from a folder."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.page_checks import check_page, open_page

pytestmark = pytest.mark.long

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = ("index", "how-it-works", "serving", "reference/settings", "decisions/index")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site into a folder; a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_page_is_sound_in_a_browser(browser: Browser, site: Path, page: str) -> None:
    check_page(browser, (site / f"{page}.html").as_uri())


def test_search_works_from_a_folder(browser: Browser, site: Path) -> None:
    for visit in open_page(browser, (site / "index.html").as_uri()):
        visit.page.locator("[data-md-component=search-query]").fill("quarantine")
        visit.page.locator(".md-search-result__item").first.wait_for()
        assert visit.problems == []


def test_reference_names_everything_that_the_code_has(site: Path) -> None:
    import typer

    from jobs.cli import app
    from jobs.settings import Settings
    from schemas.tables import TABLES

    def read(name: str) -> str:
        return (site / "reference" / f"{name}.html").read_text()

    commands, settings, tables = read("commands"), read("settings"), read("tables")
    group = typer.main.get_command(app)
    assert [name for name in group.commands if f">moon {name}<" not in commands] == []
    assert [name for name in Settings.model_fields if f"MOON_{name.upper()}" not in settings] == []
    columns = {field.name for table in TABLES.values() for field in table.schema}
    assert [name for name in [*TABLES, *columns] if name not in tables] == []


def test_no_page_loads_anything_from_the_network(site: Path) -> None:
    loads = re.compile(r'(?:src|srcset)="?https?:|<link[^>]+href="?https?:|url\(["\']?https?:')
    pages = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert [page.name for page in pages if loads.search(page.read_text())] == []
