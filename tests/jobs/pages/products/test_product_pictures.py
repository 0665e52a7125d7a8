"""Tests of the pages of explain, duplicates and search: photos, hostile texts as text, well-formed HTML."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.lake.store import open_lake
from jobs.pages.products.product_pictures import open_thumbnails, read_products_of
from jobs.pages.thumbnails import Picture
from jobs.stages.runner import run_stages
from tests.jobs.pages.page_reader import PageReader
from tests.jobs.pages.products.product_pages import make_product_pages
from tests.jobs.pages.report_pages import HOSTILE
from tests.jobs.serving_shop import ServingShop, ShopItem, commit_rows, let_commands_use

DATE = "2026-01-02"


@pytest.fixture
def hostile_shop(lite_shop: ServingShop, tmp_path: Path, photo, monkeypatch: pytest.MonkeyPatch) -> ServingShop:
    """Three products with a photo and with hostile ids, titles, categories and attributes; two have the same vector."""
    (tmp_path / "photo.jpg").write_bytes(photo(1))
    names = [HOSTILE, "b'\\\"", "c"]
    items = [ShopItem(name, HOSTILE, (HOSTILE,), {"Brand": HOSTILE, HOSTILE: str(name == "c")}) for name in names]
    context = lite_shop.prepare_run(DATE, items)
    rows = context.lake.read_arrow("products", context.partition).drop_columns(["date"]).to_pylist()
    image = {"uri": f"file://{tmp_path}/photo.jpg", "version": "1"}
    commit_rows(context.lake, "products", [{**row, "images": [image]} for row in rows], context.partition, "photos")
    run_stages(context, ["upsert", "publish"])
    let_commands_use(context, monkeypatch)
    return lite_shop


def test_pages_and_tables_show_hostile_texts_as_text(hostile_shop: ServingShop, tmp_path: Path) -> None:
    settings = hostile_shop.context(DATE).settings
    pages = make_product_pages(settings, tmp_path, HOSTILE, HOSTILE)
    for name, path in pages.items():
        page = PageReader(path.read_text())
        page.check()
        assert HOSTILE in page.text and page.tags.count("img") >= 2, name
    explained = PageReader(pages["explain"].read_text())
    assert f"served since {DATE}" in explained.text and ["new"] in [row[1:2] for row in explained.tables[1]]
    assert "2 of 3 served products are nearly the same" in PageReader(pages["duplicates"].read_text()).text
    assert 'with the filter brand != "<i>"' in PageReader(pages["search"].read_text()).text

    runner = CliRunner()
    table = runner.invoke(app, ["explain", HOSTILE, "--html", str(tmp_path / "e.html")], env={"COLUMNS": "200"})
    assert table.exit_code == 0 and HOSTILE in table.stdout, table.output
    assert (tmp_path / "e.html").read_text() == pages["explain"].read_text()
    out = tmp_path / "found.parquet"
    listed = runner.invoke(app, ["duplicates", "--out", str(out)], env={"COLUMNS": "200"})
    assert listed.exit_code == 0 and HOSTILE in listed.stdout and "2 of 3 served products in 1 groups" in listed.stdout
    rows = pq.read_table(out).to_pylist()
    assert [(row["group"], row["title"], row["group_size"]) for row in rows] == 2 * [(1, HOSTILE, 2)]
    document = json.loads(runner.invoke(app, ["duplicates", "--json"]).stdout)
    assert [sorted(group) for group in document["duplicates"]] == [sorted([HOSTILE, "b'\\\""])]
    for wrong in (["explain", "c", "--html", str(tmp_path)], ["duplicates", "--out", "x.csv"]):
        assert "cannot be written" in str(runner.invoke(app, wrong).exception)


def test_photos_are_read_from_their_own_folder_or_the_allowed_roots(make_settings, tmp_path: Path, photo) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(photo(1))
    (tmp_path / "secret.jpg").write_bytes(photo(2))
    (folder / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    pictures = [Picture(f"file://{folder}/{name}.jpg") for name in ("a", "link")]
    settings = make_settings()
    lake = open_lake(settings)
    maker = open_thumbnails(lake, settings, pictures)
    assert [maker.make(picture) is not None for picture in pictures] == [True, False]
    other = open_thumbnails(lake, make_settings(allowed_roots=(str(tmp_path / "other"),)), pictures)
    assert other.make(pictures[0]) is None
    assert read_products_of(lake, {"a": DATE}) == {} and not Path(settings.lake).exists(), "nothing is created"
