"""A catalogue with unusual headings, quotes and emoji, and some broken rows."""

import csv
from pathlib import Path

from PIL import Image

from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from tests.scenarios.nights import run_night, served_rows

MAPPING = """
id = "Artikel-Nr. (SKU)"
title = 'Name "DE"'
description = "Text"
category = { column = "Waren;gruppe", separator = "/" }
attributes = ["Farbe, Ton"]
images = "Bild 1"
"""

HEADINGS = ["Artikel-Nr. (SKU)", 'Name "DE"', "Text", "Waren;gruppe", "Farbe, Ton", "Bild 1"]
ROWS = [
    ["mug-🍵-1", 'Der "beste" Becher', "Zeile eins\nZeile zwei", "Haus/Küche", "rot, dunkel", "img/a.jpg"],
    ["vase'2", "Vase; blau", "", "Haus/Deko", "blau", "img/b.png"],
    ["missing", "Ohne Datei", "", "Haus/Deko", "grün", "img/none.jpg"],
    ["broken", "Kaputtes JPEG", "", "Haus/Deko", "grün", "img/broken.jpg"],
    ["forbidden", "Von draußen", "", "Haus/Deko", "grün", "/etc/hostname"],
    ["climbing", "Von nebenan", "", "Haus/Deko", "grün", "../secret.jpg"],
]
REASONS = {
    "missing": "no_readable_image",
    "broken": "no_readable_image",
    "forbidden": "forbidden_uri",
    "climbing": "forbidden_uri",
}


def test_good_rows_are_served_and_bad_rows_have_reasons(spark, make_settings, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    (folder / "img").mkdir(parents=True)
    Image.new("RGB", (80, 60), "red").save(folder / "img" / "a.jpg")
    Image.new("RGBA", (60, 80), "blue").save(folder / "img" / "b.png")
    Image.new("RGB", (90, 90), "green").save(tmp_path / "secret.jpg")
    (folder / "img" / "broken.jpg").write_bytes((folder / "img" / "a.jpg").read_bytes()[:200])
    with (folder / "products.csv").open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([HEADINGS, *ROWS])
    (folder / "mapping.toml").write_text(MAPPING)
    settings = make_settings(catalog=str(folder / "products.csv"), max_refusals=1.0, min_row_ratio=0.0)

    rows = run_night(spark, settings, "2026-11-20").results["report"]
    assert rows.counts["delivered"] == len(ROWS)
    assert rows.counts["encoded"] == 2
    served = served_rows(settings, rows.details["collection"])
    assert set(served) == {"mug-🍵-1", "vase'2"}
    quarantine = Lake(Storage(settings.lake)).read_arrow("quarantine").to_pylist()
    refused = {row["product_id"]: row["reason"] for row in quarantine if row["image_index"] is None}
    assert refused == REASONS
    images = {row["product_id"]: row["reason"] for row in quarantine if row["image_index"] is not None}
    assert images == {"missing": "image_missing", "broken": "image_unreadable"}
