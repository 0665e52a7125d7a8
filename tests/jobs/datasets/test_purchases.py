"""Tests of reading a purchase log: sorted by time, canonical paths, errors that name the row."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.datasets.purchases import PurchaseLog
from jobs.errors import MoonError

ROWS = [
    {"product_id": "b", "time": "2026-01-02T10:00", "query": "  red mug ", "query_image": None},
    {"product_id": "a", "time": "2026-01-01T10:00", "query": None, "query_image": "images/x y.jpg"},
]


def test_purchases_are_numbered_by_time_whatever_the_format(spark, tmp_path):
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "log.parquet")
    for name in ("log.jsonl", "log.parquet"):
        first, second = PurchaseLog(tmp_path / name).purchases(spark).orderBy("purchase").collect()
        assert (first.purchase, first.product_id, first.query) == (0, "a", "")
        assert first.query_image == f"{tmp_path.as_uri()}/images/x y.jpg"
        assert (second.purchase, second.product_id, second.query, second.query_image) == (1, "b", "red mug", None)


def test_columns_of_questions_may_be_left_out(spark, tmp_path):
    (tmp_path / "log.jsonl").write_text('{"product_id": 7, "time": 1}\n')
    (row,) = PurchaseLog(tmp_path / "log.jsonl").purchases(spark).collect()
    assert (row.product_id, row.query, row.query_image) == ("7", "", None)


def test_variants_are_optional(spark, tmp_path):
    assert PurchaseLog(tmp_path / "log.jsonl").read_variants(spark).count() == 0
    (tmp_path / "variants.jsonl").write_text('{"product_id": "a", "family": "f"}\n' * 2)
    found = PurchaseLog(tmp_path / "log.jsonl", tmp_path / "variants.jsonl").read_variants(spark)
    assert [tuple(row) for row in found.collect()] == [("a", "f")]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.jsonl", None, "there is no"),
        ("log.csv", "product_id,time\n", "is JSON Lines"),
        ("log.jsonl", '{"product_id": "a", "when": 1}\n', "has no column time; it has product_id, when"),
    ],
)
def test_a_wrong_file_is_named(spark, tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(MoonError, match=says):
        PurchaseLog(tmp_path / name).purchases(spark)
