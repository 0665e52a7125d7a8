"""Tests of core regions for pairs: stored ones are used, others are detected, unreadable images are distinguished."""

from pathlib import Path

import pytest

from jobs.datasets.pair_regions import DETECTED_SOURCE, RegionJob, find_regions
from moon_model.detection.detector import compute_detector_version
from schemas.uri import folder_uri

KNOWN = "uri string, version string, source string, box array<float>"


@pytest.fixture
def root(tmp_path: Path, photo) -> str:
    for number, name in enumerate(("held", "whole", "new")):
        (tmp_path / f"{name}.jpg").write_bytes(photo(number))
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    return folder_uri(str(tmp_path))


def test_every_image_has_one_answer(spark, root):
    names = ("held", "whole", "new", "broken", "gone", "new")
    images = spark.createDataFrame([(f"{root}/{name}.jpg", "1") for name in names], "uri string, version string")
    known = spark.createDataFrame(
        [
            (f"{root}/held.jpg", "1", DETECTED_SOURCE, [0.1, 0.2, 0.3, 0.4]),
            (f"{root}/whole.jpg", "1", "whole", [0.0, 0.0, 1.0, 1.0]),
            (f"{root}/new.jpg", "0", DETECTED_SOURCE, [0.1, 0.2, 0.3, 0.4]),  # of another version: not ours
        ],
        KNOWN,
    )
    found = find_regions(images, known, RegionJob((root,), None, compute_detector_version(None))).collect()
    rows = {Path(row.uri).stem: row for row in found}
    assert len(found) == len(rows) == 5
    assert rows["held"].box == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert rows["whole"].box is None
    assert rows["new"].failure is None
    assert rows["new"].box != pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert rows["broken"].failure.startswith("image_")
    assert rows["gone"].failure.startswith("image_missing")


def test_no_root_no_image(spark, root, tmp_path):
    images = spark.createDataFrame([(f"{root}/new.jpg", None)], "uri string, version string")
    job = RegionJob((folder_uri(str(tmp_path / "elsewhere")),), None, compute_detector_version(None))
    (row,) = find_regions(images, spark.createDataFrame([], KNOWN), job).collect()
    assert row.failure.startswith("image_forbidden")
