"""A shop with photos in folders that turns on the image store for them: nothing is encoded again, nothing degrades."""

import json
from pathlib import Path

import pytest
from PIL import Image

from jobs.lake.store import open_lake
from tests.scenarios.nights import run_night, served_rows

COLOURS = ("red", "green", "blue", "orange", "purple", "grey")


def deliver(folder: Path, photos: Path, titles: dict[str, str]) -> None:
    """Write the catalogue; each product has a photo of its own and one that all share."""
    shared = photos / "all [1].png"
    rows = [
        {"id": key, "title": title, "photos": [str(photos / f"{key}.png"), str(shared)]}
        for key, title in titles.items()
    ]
    (folder / "catalog.jsonl").write_text("\n".join(map(json.dumps, rows)))


@pytest.mark.long
def test_the_store_is_turned_on_for_photos_in_folders(spark, make_settings, tmp_path: Path) -> None:
    photos, moved = tmp_path / "photos", tmp_path / "moved"
    photos.mkdir()
    for name, colour in {**{str(n): colour for n, colour in enumerate(COLOURS)}, "all [1]": "white"}.items():
        Image.new("RGB", (64, 80), colour).save(photos / f"{name}.png")
    titles = {str(number): f"{colour} mug" for number, colour in enumerate(COLOURS)}
    (tmp_path / "mapping.toml").write_text('id = "id"\ntitle = "title"\nimages = "photos"\n')
    deliver(tmp_path, photos, titles)
    settings = make_settings(catalog=str(tmp_path / "catalog.jsonl"), allowed_roots=[str(photos), str(moved)])
    first = run_night(spark, settings, "2026-11-20")
    collection = first.results["report"].details["collection"]
    before = served_rows(settings, collection)
    assert first.results["fetch"].details == {"note": "no photos by URL"}

    # Turned on: the photos are read once, and every product takes over its vector.
    settings = settings.replace(image_store="all")
    second = run_night(spark, settings, "2026-11-21")
    rows = second.results["report"].counts
    assert (rows["reused"], rows["encoded"], rows["unchanged"]) == (6, 0, 0)
    assert second.results["fetch"].counts["fetched"] == second.results["fetch"].counts["wanted"] == 7
    after = served_rows(settings, collection)
    assert {key: row[2] for key, row in after.items()} == {key: row[2] for key, row in before.items()}
    assert len(open_lake(settings).read_arrow("stored_images")) == 7

    # Half of the products name a folder that is not mounted, the others another place of the same photos. The product
    # with a new title is encoded with stored photos.
    photos.rename(moved)
    titles["3"] = "orange bowl"
    deliver(tmp_path, photos, {key: title for key, title in titles.items() if key < "3"})
    first_half = (tmp_path / "catalog.jsonl").read_text()
    deliver(tmp_path, moved, {key: title for key, title in titles.items() if key >= "3"})
    (tmp_path / "catalog.jsonl").write_text(first_half + "\n" + (tmp_path / "catalog.jsonl").read_text())
    third = run_night(spark, settings, "2026-11-22")
    rows, images = third.results["report"].counts, third.results["fetch"].counts
    assert (rows["encoded"], rows["unchanged"], rows["kept"], rows["quarantined"], rows["partial"]) == (1, 5, 0, 0, 0)
    assert (images["unreachable"], images["fetched"]) == (4, 4)
