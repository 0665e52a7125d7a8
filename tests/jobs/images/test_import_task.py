"""Tests of reading photos of folders into the image store."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs.images.import_task import ImportJob, read_photo, run_import_task
from jobs.images.reading import read_image_version
from jobs.lake.store import Lake
from jobs.lake.writing import AddedFile
from tests.image_host import draw_photo

DATE = "2026-03-20"
PHOTO = draw_photo(3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop [1] ü").mkdir()
    return tmp_path / "shop [1] ü"


def make_row(path: Path, **values: Any) -> dict[str, Any]:
    known = {"image_sha256": None, "failed_nights": 0, "missing_nights": 0, "etag": None, "last_modified": None}
    return {"uri": f"file://{path}", "given_version": None, **known, **values}


def run(lake: Lake, folder: Path, rows: list[dict[str, Any]], seconds: float = 60.0) -> dict[str, list[dict[str, Any]]]:
    """Run one task; return the rows that it wrote, by table."""
    job = ImportJob(lake.storage, (f"file://{folder}",), DATE, seconds, 0)
    [output] = run_import_task([pa.RecordBatch.from_pylist(rows)], job)
    found: dict[str, list[dict[str, Any]]] = {"images": [], "stored_images": []}
    for row in output.to_pylist():
        if row["file"]:
            path = Path(lake.storage.uri(row["table"])) / AddedFile.from_json(row["file"]).path
            found[row["table"]] += pa.parquet.read_table(path, partitioning=None).to_pylist()
    return found


def test_equal_photos_are_stored_once_and_failures_have_reasons(lake: Lake, folder: Path) -> None:
    for name, data in {"a.jpg": PHOTO, "b.jpg": PHOTO, "page.jpg": b"<html>"}.items():
        (folder / name).write_bytes(data)
    names = ("a.jpg", "b.jpg", "page.jpg", "absent.jpg", "../out.jpg")
    found = run(lake, folder, [make_row((folder / name).resolve()) for name in names])
    outcomes = {Path(row["uri"]).name: (row["outcome"], row["reason"]) for row in found["images"]}
    assert outcomes == {
        "a.jpg": ("fetched", None),
        "b.jpg": ("fetched", None),
        "page.jpg": ("failed", "image_format"),
        "absent.jpg": ("failed", "image_missing"),
        "out.jpg": ("failed", "image_forbidden"),
    }
    [stored] = found["stored_images"]
    assert stored["image_sha256"] == hashlib.sha256(PHOTO).hexdigest() and stored["size"] == len(PHOTO)


def test_the_version_is_that_of_the_bytes_that_were_read(lake: Lake, folder: Path) -> None:
    (folder / "a.jpg").write_bytes(PHOTO)
    roots = (f"file://{folder}",)
    before = read_image_version(f"file://{folder}/a.jpg", roots)
    os.utime(folder / "a.jpg", (1, 1))
    now = read_image_version(f"file://{folder}/a.jpg", roots)
    assert now != before
    digest = "sha256:" + hashlib.sha256(PHOTO).hexdigest()
    given = {before: now, "v7": "v7", None: None, "sha256:" + "0" * 64: digest}
    for version, expected in given.items():
        [answer] = run(lake, folder, [make_row(folder / "a.jpg", given_version=version)])["images"]
        assert answer["given_version"] == expected


def test_a_missing_file_keeps_its_photo_however_often_it_is_missing(lake: Lake, folder: Path) -> None:
    row = make_row(folder / "a.jpg", image_sha256="f" * 64, missing_nights=9, failed_nights=9)
    [answer] = run(lake, folder, [row])["images"]
    assert (answer["reason"], answer["image_sha256"], answer["missing_nights"]) == ("image_missing", "f" * 64, 10)


def test_a_damaged_photo_does_not_replace_a_stored_one(folder: Path) -> None:
    (folder / "a.jpg").write_bytes(PHOTO[:200])
    roots = (f"file://{folder}",)
    assert read_photo(make_row(folder / "a.jpg"), roots)[1].outcome == "fetched"  # the stage detect says what it is
    assert read_photo(make_row(folder / "a.jpg", image_sha256="f" * 64), roots)[1].outcome == "failed"


def test_a_task_out_of_time_leaves_the_rest_to_others(lake: Lake, folder: Path) -> None:
    (folder / "a.jpg").write_bytes(PHOTO)
    assert run(lake, folder, [make_row(folder / "a.jpg")] * 3, seconds=0.0) == {"images": [], "stored_images": []}
