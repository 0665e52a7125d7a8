"""Exports of shop platforms: the unedited suggested mapping serves all products, and a second run does nothing."""

import csv
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from tests.image_host import Answer, ImageHost, open_image_host
from tests.scenarios.nights import run_night, served_rows

PRODUCTS = {
    "shopify/products_export.csv": 101,
    "merchant-tsv/feed.tsv": 150,
    "merchant-xml/feed.xml": 150,
    "woocommerce/wc-product-export.csv": 97,
}


@pytest.fixture(scope="module")
def host() -> Iterator[ImageHost]:
    with open_image_host() as running:
        yield running


def write_exports(shared_data: Path, out: Path, base: str | None = None) -> Path:
    """Write the exports of all platforms; photos below an address, or as relative paths."""
    tool = shared_data.parent / "tools/platform-exports"
    if not tool.exists():
        pytest.skip(f"the tool that writes exports is not here ({tool})")
    subprocess.run([sys.executable, str(tool), str(out), *(["--base", base] if base else [])], check=True)
    return out


def suggest(catalog: Path) -> None:
    """Write the suggested mapping next to the catalogue, as a user does."""
    out = str(catalog.parent / "mapping.toml")
    result = CliRunner().invoke(app, ["check-source", "--catalog", str(catalog), "--out", out])
    assert result.exit_code == 0, result.output


def check_two_nights(spark, make_settings, catalog: Path, count: int, host: ImageHost | None = None) -> None:
    settings = make_settings(catalog=str(catalog))
    outcome = run_night(spark, settings, "2026-11-20").results["report"]
    assert (outcome.counts["encoded"], outcome.counts["quarantined"]) == (outcome.counts["delivered"], 0)
    assert outcome.counts["partial"] == 0
    assert len(served_rows(settings, outcome.details["collection"])) == count
    if host is not None:
        host.forget_requests()
    counts = run_night(spark, settings, "2026-11-21").results["report"].counts
    assert (counts["encoded"], counts["deleted"], counts["quarantined"]) == (0, 0, 0)
    assert host is None or not host.list_bodies()


@pytest.mark.long
@pytest.mark.parametrize("name", ["merchant-tsv/feed.tsv", "woocommerce/wc-product-export.csv"])
def test_an_export_with_a_folder_of_photos(spark, make_settings, shared_data: Path, tmp_path: Path, name: str) -> None:
    catalog = write_exports(shared_data, tmp_path / "exports") / name
    make_settings()  # no variable of the environment counts
    suggest(catalog)
    check_two_nights(spark, make_settings, catalog, PRODUCTS[name])


@pytest.mark.long
@pytest.mark.parametrize("name", ["shopify/products_export.csv", "merchant-xml/feed.xml"])
def test_an_export_with_photos_by_url(
    spark, make_settings, shared_data: Path, tmp_path: Path, host: ImageHost, name: str
) -> None:
    catalog = write_exports(shared_data, tmp_path / "exports", host.url) / name
    for photo in (tmp_path / "exports/photos").iterdir():
        host.answers[f"/{photo.name}"] = Answer(body=photo.read_bytes())
    make_settings()
    suggest(catalog)
    check_two_nights(spark, make_settings, catalog, PRODUCTS[name], host)


@pytest.mark.long
def test_a_real_export_with_photos_by_url(
    spark, make_settings, shared_data: Path, tmp_path: Path, host: ImageHost
) -> None:
    with (shared_data / "spree/products.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.reader(file))
    places = [index for index, name in enumerate(rows[0]) if name.startswith("image") and name.endswith("_src")]
    for row in rows[1:]:
        for place in places:
            if row[place]:
                name = row[place].split("?")[0].rsplit("/", 1)[-1]
                row[place] = f"{host.url}/{name}"
                host.answers[f"/{name}"] = Answer(body=(shared_data / "spree/images" / name).read_bytes())
    (tmp_path / "spree").mkdir()
    catalog = tmp_path / "spree/products.csv"
    with catalog.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    make_settings()
    suggest(catalog)
    check_two_nights(spark, make_settings, catalog, 37, host)
