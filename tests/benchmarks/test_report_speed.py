"""Tests of the lake that the report benchmark measures."""

from pathlib import Path

from benchmarks.report_speed import DATE, draw_photos, fill_lake, render_result
from benchmarks.upsert_speed import make_rows
from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.state.model_registry import describe_checkpoint


def test_every_row_is_a_product_with_a_photo_or_refused(tmp_path: Path) -> None:
    lake, model = Lake(Storage(str(tmp_path / "lake"))), describe_checkpoint(None, None)
    photos = draw_photos(tmp_path / "photos")
    fill_lake(lake, model, list(make_rows(model, 101)), photos)
    assert lake.count("snapshots", {"date": DATE}) == 101
    refused = {"date": DATE, "purpose": "nightly", "stage": "validate"}
    assert (lake.count("products", {"date": DATE}), lake.count("quarantine", refused)) == (98, 3)
    products = lake.read_arrow("products", {"date": DATE}).to_pylist()
    assert {row["images"][0]["uri"] for row in products} <= set(photos)
    assert lake.count("regions", {"detector_version": model.detector_version}) == len(photos)


def test_the_page_of_results() -> None:
    result = {
        "rows": 1000,
        "seconds": 12.34,
        "memory_mib": 500,
        "page_mib": 0.31,
        "processes": {"driver": 500, "jvm": 900},
    }
    result |= {"machine": "2 CPUs", "load": 1.0, "command": "python -m x", "measured_at": "now"}
    assert "| time of the stage report | 12.3 s | 60 s |" in render_result(result)
