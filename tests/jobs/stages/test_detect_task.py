"""Tests of a detect task without Spark: Arrow batches in, files and their descriptions out."""

import hashlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import jobs.images.store
import jobs.stages.detect_task
from jobs.images.store import PackWriter
from jobs.lake.storage import Storage
from jobs.lake.writing import AddedFile
from jobs.stages.detect_task import DetectJob, run_detect_task
from jobs.stages.worker_models import ModelChangedError
from moon_model.detection.detector import ProductDetector, compute_detector_version
from moon_model.images import decode_image
from schemas.uri import folder_uri

STORED_NAMES = ("pack", "offset", "size", "checksum")
SCHEMA = pa.schema(
    [
        ("product_id", pa.string()), ("source_row", pa.int64()), ("image_index", pa.int32()),
        ("uri", pa.string()), ("version", pa.string()), ("key", pa.string()),
        ("stored", pa.struct([(name, pa.string() if name == "pack" else pa.int64()) for name in STORED_NAMES])),
        ("failure", pa.struct([("reason", pa.string()), ("detail", pa.string())])),
    ]
)  # fmt: skip


@pytest.fixture
def job(tmp_path):
    version = compute_detector_version()
    partitions = {
        "quarantine": {"date": "2026-01-02", "purpose": "nightly", "stage": "detect"},
        "regions": {"detector_version": version},
    }
    return DetectJob(Storage(str(tmp_path / "lake")), partitions, (folder_uri(str(tmp_path)),), None, version)


def run(job, *rows, size=100):
    """Run a task on (product_id, image_index, file name) rows in order; return the rows of both tables."""
    columns = ("product_id", "image_index", "uri", "key", "source_row", "version")
    table = [(product, index, *[f"{job.roots[0]}/{name}"] * 2, 1, "v") for product, index, name in rows]
    return run_rows(job, [dict(zip(columns, row, strict=True)) for row in table], size)


def run_rows(job, rows, size=100):
    """Run a task on rows of `SCHEMA`; return the rows of both tables."""
    arrow = pa.Table.from_pylist(rows, schema=SCHEMA)
    (described,) = run_detect_task(iter(arrow.to_batches(max_chunksize=size)), job)
    found = {"regions": [], "quarantine": []}
    for line in described.to_pylist():
        path = f"{job.storage.root}/{line['table']}/{AddedFile.from_json(line['file']).path}"
        found[line["table"]] += pq.ParquetFile(path).read().to_pylist()
    return {row["uri"].rsplit("/", 1)[1]: row for row in found["regions"]}, found["quarantine"]


def test_regions_are_the_detectors_own(job, tmp_path, photo):
    for n in range(3):
        (tmp_path / f"{n}.jpg").write_bytes(photo(n, size=200))
    regions, refused = run(job, *((f"p{n}", 0, f"{n}.jpg") for n in range(3)))
    detector = ProductDetector.from_pretrained()
    assert not refused
    for n in range(3):
        data = (tmp_path / f"{n}.jpg").read_bytes()
        (expected,) = detector.detect([decode_image(data)])
        found = regions[f"{n}.jpg"]
        assert found["box"] == pytest.approx(expected.box, abs=1e-6)
        assert (found["score"], found["source"]) == (pytest.approx(expected.score), expected.source)
        assert found["image_sha256"] == hashlib.sha256(data).hexdigest()
        assert found["version"] == "v"


@pytest.mark.parametrize("size", [1, 2, 100])
def test_an_image_shown_often_is_read_once_and_refused_everywhere(job, tmp_path, photo, size, monkeypatch):
    (tmp_path / "good.jpg").write_bytes(photo(1))
    (tmp_path / "bad.jpg").write_text("no picture")
    opened = []
    read = jobs.images.store.read_image
    monkeypatch.setattr(jobs.images.store, "read_image", lambda uri, roots: opened.append(uri) or read(uri, roots))
    rows = [("a", 1, "bad.jpg"), ("b", 0, "bad.jpg"), ("c", 2, "bad.jpg"), ("a", 0, "good.jpg"), ("d", 0, "good.jpg")]
    regions, refused = run(job, *rows, size=size)
    assert regions.keys() == {"good.jpg"}
    assert {(row["product_id"], row["image_index"]) for row in refused} == {("a", 1), ("b", 0), ("c", 2)}
    assert {row["reason"] for row in refused} == {"image_format"}
    assert len(opened) == 2


def test_photos_by_url_come_from_the_store_or_have_a_reason(job, photo):
    packs = PackWriter(job.storage)
    data = photo(1)
    sha256 = hashlib.sha256(data).hexdigest()
    part = packs.add(sha256, data)
    packs.close()
    stored = {name: part[name] for name in STORED_NAMES}
    key = f"sha256:{sha256}"
    place = {"source_row": 1, "image_index": 0}
    rows = [
        {**place, "product_id": "a", "uri": "https://h/1", "version": key, "key": key, "stored": stored},
        {**place, "product_id": "b", "uri": "https://h/2", "version": key, "key": key, "stored": stored},
        {**place, "product_id": "c", "uri": "https://h/3", "key": "https://h/3",
         "failure": {"reason": "image_missing", "detail": "404"}},
        {**place, "product_id": "d", "uri": "https://h/4", "key": "https://h/4"},
    ]  # fmt: skip
    (described,) = run_detect_task(iter(pa.Table.from_pylist(rows, schema=SCHEMA).to_batches()), job)
    files = {line["table"]: AddedFile.from_json(line["file"]).path for line in described.to_pylist()}
    tables = {
        name: pq.ParquetFile(f"{job.storage.root}/{name}/{path}").read().to_pylist() for name, path in files.items()
    }
    assert [(row["uri"], row["version"], row["image_sha256"]) for row in tables["regions"]] == [(key, key, sha256)]
    refused = {row["product_id"]: (row["reason"], row["detail"]) for row in tables["quarantine"]}
    assert refused == {
        "c": ("image_missing", "404"),
        "d": ("image_forbidden", "https://h/4 is not under an allowed root"),
    }


def test_preparing_ahead_changes_nothing(job, tmp_path, photo, monkeypatch):
    for n in range(9):
        (tmp_path / f"{n}.jpg").write_bytes(photo(n) if n % 4 else b"broken")
    rows = [(f"p{n}", 0, f"{n}.jpg") for n in range(9)]
    expected = run(job, *rows)
    monkeypatch.setattr(jobs.stages.detect_task, "loader_threads", lambda device, roots: 3)
    assert run(job, *rows) == expected


def test_no_rows_no_files(job):
    assert run(job) == ({}, [])


def test_another_detector_than_planned_stops(job):
    other = DetectJob(job.storage, job.partitions, job.roots, None, "0" * 16)
    with pytest.raises(ModelChangedError, match="ship the same files"):
        run(other)
