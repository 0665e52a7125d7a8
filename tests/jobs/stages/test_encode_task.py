"""Tests of an encode task without Spark: Arrow batches in, files and their descriptions out."""

import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import jobs.stages.encode_task
from jobs.images.store import ImageReader
from jobs.lake.storage import Storage
from jobs.lake.writing import AddedFile
from jobs.stages.encode_task import BrokenVectorError, EncodeJob, prepare_item, run_encode_task
from jobs.stages.worker_models import load_encoder
from jobs.state.model_registry import describe_checkpoint
from moon_model.detection.region import WHOLE_IMAGE
from schemas.tables import PRODUCTS
from schemas.uri import folder_uri

REGION = pa.struct(
    [
        ("image_index", pa.int32()),
        ("image_sha256", pa.string()),
        ("box", pa.list_(pa.float32())),
        ("score", pa.float32()),
        ("source", pa.string()),
        ("stored", pa.struct([("pack", pa.string())])),
    ]
)
SCHEMA = PRODUCTS.columns.append(pa.field("regions", pa.list_(REGION)))


@pytest.fixture
def folder(tmp_path, photo):
    """Two photos and a broken one."""
    for name, data in {"a.jpg": photo(1), "b.jpg": photo(2), "broken.jpg": photo(3)[:200]}.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


@pytest.fixture
def job(tmp_path, folder, tiny_checkpoint):
    model = describe_checkpoint(str(tiny_checkpoint))
    partitions = {
        "quarantine": {"date": "2026-01-02", "purpose": "nightly", "stage": "encode"},
        "vectors": {"model_version": model.model_version, "date": "2026-01-02"},
    }
    return EncodeJob(
        storage=Storage(str(tmp_path / "lake")), partitions=partitions, roots=(folder_uri(str(folder)),),
        model=model.uri, model_version=model.model_version, detector=None, max_images=2, batch_tokens=None,
    )  # fmt: skip


@pytest.fixture
def encoder(job):
    return load_encoder(job.model, None, job.model_version, "cpu")


def row(folder, product_id, *images, without_region=(), **columns):
    box = [0.25, 0.25, 0.75, 0.75]
    regions = [
        {"image_index": index, "image_sha256": "a", "box": box, "score": 0.9, "source": "detected"}
        for index in range(len(images))
        if index not in without_region
    ]
    return {
        "product_id": product_id, "source_row": 7, "title": "Mug", "description": "", "category": ["Kitchen"],
        "attributes": [("Color", "red")], "content_hash": f"hash of {product_id}", "regions": regions or None,
        "images": [{"uri": folder_uri(str(folder)) + "/" + name, "version": "1"} for name in images], **columns,
    }  # fmt: skip


def run(job, *rows, size=100):
    """Run a task on batches of ``size`` rows; return the rows of both tables by product."""
    table = pa.Table.from_pylist(list(rows), schema=SCHEMA)
    (described,) = run_encode_task(iter(table.to_batches(max_chunksize=size)), job)
    found = {"vectors": [], "quarantine": []}
    for line in described.filter(pc.is_valid(described["file"])).to_pylist():
        table = line["table"].removeprefix("partial_")
        rows = pq.ParquetFile(f"{job.storage.root}/{table}/{AddedFile.from_json(line['file']).path}").read().to_pylist()
        if table == "vectors":
            assert {row["partial"] for row in rows} == {line["table"] != table}, (
                "complete vectors are files of their own"
            )
        found[table] += rows
    return {vector["product_id"]: vector for vector in found["vectors"]}, found["quarantine"]


def test_encodes_whole_and_partial_products_and_refuses_the_rest(job, folder):
    vectors, refused = run(
        job,
        row(folder, "whole", "a.jpg", "b.jpg"),
        row(folder, "broken second", "a.jpg", "broken.jpg"),
        row(folder, "missing first", "missing.jpg", "b.jpg"),
        row(folder, "refused by detect", "broken.jpg", "b.jpg", without_region=[0]),
        row(folder, "third does not count", "a.jpg", "b.jpg", "missing.jpg"),
        row(folder, "nothing left", "broken.jpg"),
        row(folder, "nothing found", "broken.jpg", without_region=[0]),
        size=3,
    )
    assert {key: vector["partial"] for key, vector in vectors.items()} == {
        "whole": False, "broken second": True, "missing first": True, "refused by detect": True,
        "third does not count": False,
    }  # fmt: skip
    assert vectors["whole"]["content_hash"] == "hash of whole"
    for vector in vectors.values():
        assert np.linalg.norm(vector["vector"]) == pytest.approx(1, abs=1e-5)
    assert {(bad["product_id"], bad["image_index"], bad["reason"]) for bad in refused} == {
        ("broken second", 1, "image_unreadable"),
        ("missing first", 0, "image_missing"),
        ("nothing left", 0, "image_unreadable"),
        ("nothing left", None, "no_readable_image"),
        ("nothing found", None, "no_readable_image"),
    }
    assert {bad["source_row"] for bad in refused} == {7}


def test_a_task_counts_what_the_model_does_not_read(job, folder):
    long = "long " * 40
    rows = [
        row(folder, "short", "a.jpg", "b.jpg"),
        row(folder, "long texts", "a.jpg", title=long, description=long, category=[long], attributes=[("Note", long)]),
        row(folder, "long text and three images", "a.jpg", "b.jpg", "missing.jpg", description=long),
        row(folder, "not encoded", "missing.jpg", "broken.jpg", "missing.jpg", description=long),
    ]
    (described,) = run_encode_task(iter(pa.Table.from_pylist(rows, schema=SCHEMA).to_batches()), job)
    [counts] = [dict(line["counts"]) for line in described.to_pylist() if line["counts"]]
    assert counts == {"encoded": 3, "title": 1, "description": 2, "category": 1, "attributes": 1, "images": 1}


def test_a_forbidden_image_is_not_read(job, folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "secret.jpg"
    outside.write_bytes((folder / "a.jpg").read_bytes())
    (folder / "link.jpg").symlink_to(outside)
    vectors, refused = run(job, row(folder, "p", "a.jpg", "link.jpg"))
    assert vectors["p"]["partial"]
    assert [bad["reason"] for bad in refused] == ["image_forbidden"]


def test_the_refused_row_can_be_read_back(job, folder):
    _, refused = run(job, row(folder, 'id "1" 😀', "missing.jpg", description="two\nlines"))
    by_index = {bad["image_index"]: bad for bad in refused}
    assert json.loads(by_index[0]["row"])["uri"].endswith("/missing.jpg")
    product = json.loads(by_index[None]["row"])
    assert (product["product_id"], product["attributes"]) == ('id "1" 😀', {"Color": "red"})


def test_the_region_decides_the_crop(folder, encoder):
    reader = ImageReader(Storage(str(folder)), (folder_uri(str(folder)),))
    item = row(folder, "p", "a.jpg")
    item["regions"] = [{**region, "stored": None} for region in item["regions"]]
    with_crop = prepare_item(item, encoder, reader, 2).prepared
    whole = {**item["regions"][0], "image_sha256": "b", "box": list(WHOLE_IMAGE), "score": 0.1, "source": "whole_image"}
    for regions in ([whole], [whole, *item["regions"]], [*item["regions"], whole]):  # of two always the same
        without = prepare_item({**item, "regions": regions}, encoder, reader, 2).prepared
        assert (len(with_crop.views), len(without.views)) == (2, 1)


@pytest.mark.parametrize("threads", [0, 3])
def test_preparing_ahead_and_chunks_change_nothing(job, folder, monkeypatch, threads):
    rows = [
        row(folder, f"p{n:02}", *["a.jpg", "b.jpg", "broken.jpg"][n % 3 :][:2], title="Mug " * n) for n in range(20)
    ]
    monkeypatch.setattr(jobs.stages.encode_task, "ENCODE_CHUNK_SIZES", {"cpu": 64})
    expected, refused = run(job, *rows)
    monkeypatch.setattr(jobs.stages.encode_task, "ENCODE_CHUNK_SIZES", {"cpu": 3})
    monkeypatch.setattr(jobs.stages.encode_task, "loader_threads", lambda device, roots: threads)
    found, refused_again = run(job, *rows, size=7)
    assert found.keys() == expected.keys()
    for key, vector in found.items():
        assert np.dot(vector["vector"], expected[key]["vector"]) > 0.998, key
    assert Counter(bad["product_id"] for bad in refused_again) == Counter(bad["product_id"] for bad in refused)


def test_no_rows_no_files(job):
    assert run(job) == ({}, [])


def test_a_vector_that_is_not_finite_stops_the_task(job, folder, monkeypatch):
    from moon_model.encoder import MoonEncoder

    broken = np.array([[1.0, 0.0], [np.nan, 0.0]], dtype=np.float32)
    monkeypatch.setattr(MoonEncoder, "encode_prepared", lambda *args, **options: broken)
    with pytest.raises(BrokenVectorError, match=r"for bad$"):
        run(job, row(folder, "good", "a.jpg"), row(folder, "bad", "a.jpg"))
