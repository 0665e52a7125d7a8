"""Tests of pairs on disk: row groups of equal size, a manifest that the trainer accepts, no files of an older set."""

import json

import pyarrow.parquet as pq
from pyspark.sql import functions as F

from jobs.datasets import pair_files
from jobs.datasets.pair_files import build_pair_product, write_pairs
from moon_model.training.pairs import MANIFEST_FILE, Manifest

COLUMNS = (
    "pair_id long, kind string, identity long, "
    "query struct<id: string, title: string, views: array<struct<uri: string, box: array<float>>>>, "
    "item struct<id: string, title: string, attributes: map<string, string>>, "
    "negatives array<struct<identity: long, product: struct<id: string, title: string>>>"
)


def pairs(spark, count):
    rows = [
        (number, "text", number, (f"q {number}", "mug", []), (f"p {number}", "Mug", {"colour": "red"}),
         [(9, ("n", "Other"))] if number % 2 else None)
        for number in range(count)
    ]  # fmt: skip
    return spark.createDataFrame(rows, COLUMNS).orderBy(F.rand(1))


def test_files_hold_whole_groups_in_order(spark, tmp_path, monkeypatch):
    monkeypatch.setattr(pair_files, "GROUPS_PER_FILE", 2)
    out = tmp_path / "pairs"
    out.mkdir()
    (out / "old.parquet").write_text("of an older set")
    manifest = write_pairs(pairs(spark, 20), out, rows_per_group=4, kinds={"text": 20}, seed=3)
    assert (manifest.rows, manifest.row_groups) == (20, 5)
    assert [file.rows for file in manifest.files] == [8, 8, 4]
    assert sorted(path.name for path in out.iterdir()) == [MANIFEST_FILE, *(file.path for file in manifest.files)]
    assert Manifest.read(out) == manifest
    found = []
    for file in manifest.files:
        opened = pq.ParquetFile(out / file.path)
        groups = range(opened.num_row_groups)
        assert {opened.metadata.row_group(group).num_rows for group in groups} == {4}
        found += opened.read().to_pylist()
    assert [row["pair_id"] for row in found] == list(range(20))
    assert json.loads(found[1]["negatives"]) == [{"identity": 9, "product": {"id": "n", "title": "Other"}}]
    assert json.loads(found[0]["negatives"]) == []
    assert json.loads(found[0]["item"])["attributes"] == {"colour": "red"}


def test_empty_fields_are_left_out_and_regions_stay_beside_their_images():
    product = {"id": "a", "title": "", "views": [{"uri": "file:///x.jpg", "box": None}], "attributes": []}
    assert build_pair_product(product) == {"id": "a", "images": ["file:///x.jpg"], "regions": [None]}
