"""Tests of bad deliveries and failing image stores: no good row is deleted, and the run reports what it kept."""

import json
from pathlib import Path

import pytest
from PIL import Image

from jobs.errors import PhotosUnreachableError
from jobs.serving.quarantine import read_quarantine
from jobs.serving.status import read_status
from jobs.settings import Settings
from tests.scenarios.nights import run_night, served_rows

MAPPING = 'id = "id"\ntitle = "title"\nimages = "photos"\n'
COLOURS = ("red", "green", "blue", "orange", "purple", "grey")


class Shop:
    """A folder with a catalogue of JSON Lines and two photos a product, in folders a and b."""

    def __init__(self, folder: Path) -> None:
        self.catalog = folder / "catalog.jsonl"
        self.folder = folder
        for side in ("a", "b"):
            (folder / side).mkdir(parents=True)
            for number, colour in enumerate(COLOURS):
                Image.new("RGB", (64 + 8 * number, 80), colour).save(folder / side / f"{number}.png")
        (folder / "mapping.toml").write_text(MAPPING)
        self.titles = {str(number): f"{colour} mug" for number, colour in enumerate(COLOURS)}

    def deliver(self, *broken: str) -> None:
        """Write the catalogue, with broken lines at its end."""
        lines = [
            json.dumps({"id": key, "title": title, "photos": [f"a/{key}.png", f"b/{key}.png"]})
            for key, title in self.titles.items()
        ]
        self.catalog.write_text("\n".join([*lines, *broken]))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path / "shop [b]")
    shop.deliver()
    return shop


@pytest.fixture
def settings(shop: Shop, make_settings) -> Settings:
    return make_settings(catalog=str(shop.catalog), min_row_ratio=0.0, max_null_share=1.0)


def test_a_row_without_a_readable_id_holds_the_deletes(spark, shop: Shop, settings: Settings) -> None:
    first = run_night(spark, settings, "2026-11-20").results["report"]
    collection = first.details["collection"]
    # Product 0 is damaged after its id, product 1 before it, and product 2 has left the shop.
    shop.titles = {key: title for key, title in shop.titles.items() if key > "2"}
    shop.deliver('{"id": "0", "title": "cut o', '{"title": "no id')
    second = run_night(spark, settings, "2026-11-21").results["report"]
    assert set(served_rows(settings, collection)) == {"0", "1", "2", "3", "4", "5"}
    assert (second.counts["deleted"], second.counts["held"], second.counts["stale"]) == (0, 2, 3)
    assert "1 delivered rows have no readable product id" in second.details["held"]
    refused = read_quarantine(settings, reason="malformed_row").to_pylist()
    assert [row["product_id"] for row in refused] == ["0", None]
    # --allow-deletes releases them at once; the product whose id was read stays.
    third = run_night(spark, settings, "2026-11-21", allow_deletes=1.0, reason="checked").results["report"]
    assert (third.counts["deleted"], third.counts["held"]) == (2, 0)
    assert set(served_rows(settings, collection)) == {"0", "3", "4", "5"}


@pytest.mark.long
def test_photos_that_cannot_be_reached_cost_no_vector(spark, shop: Shop, settings: Settings) -> None:
    first = run_night(spark, settings, "2026-11-20").results["report"]
    collection = first.details["collection"]
    before = served_rows(settings, collection)
    # The folder b is not mounted, and one product has a new title.
    (shop.folder / "b").rename(shop.folder / "unmounted")
    shop.titles["3"] = "orange bowl"
    shop.deliver()
    second = run_night(spark, settings, "2026-11-21").results["report"]
    assert (second.counts["kept"], second.counts["encoded"], second.counts["quarantined"]) == (6, 0, 0)
    assert served_rows(settings, collection) == before
    assert read_status(settings)["kept_share"] == 1.0
    # No folder at all: more photos than the breaker tolerates.
    (shop.folder / "a").rename(shop.folder / "unmounted too")
    with pytest.raises(PhotosUnreachableError, match="12 of 12 photos") as stopped:
        run_night(spark, settings, "2026-11-22")
    assert stopped.value.exit_status == 75
    attempt = read_status(settings)["last_attempt"]
    assert (attempt["date"], attempt["stage"], attempt["outcome"]) == ("2026-11-22", "detect", "failed")
    # They are back: only the new title is encoded.
    (shop.folder / "unmounted").rename(shop.folder / "b")
    (shop.folder / "unmounted too").rename(shop.folder / "a")
    last = run_night(spark, settings, "2026-11-22").results["report"]
    assert (last.counts["unchanged"], last.counts["encoded"], last.counts["kept"]) == (5, 1, 0)
    after = served_rows(settings, collection)
    assert {key for key in before if before[key] != after[key]} == {"3"}
