"""Tests of rows for Milvus: vectors as matrices, texts cut to their fields, and the check before the first is sent."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import functions as F

from jobs.errors import NightStoppedError
from jobs.serving.rows import (
    check_serving_rows,
    compute_entity_digest,
    estimate_entity_bytes,
    iter_entities,
    join_rows,
    stack_vectors,
)
from schemas.collection import MAX_TEXT_BYTES, SCALAR_FIELDS, VECTOR_FIELD, select_scalar_fields

FLOATS = st.floats(-1, 1, width=32)


@given(st.integers(0, 9), st.integers(1, 9), st.data())
def test_vectors_come_out_as_they_went_in(rows: int, dimension: int, data: st.DataObject) -> None:
    vectors = [data.draw(st.lists(FLOATS, min_size=dimension, max_size=dimension)) for _ in range(rows)]
    column = pa.array([[9.0] * dimension, *vectors], pa.list_(pa.float32()))[1:]  # a slice, as Spark hands them over
    matrix = stack_vectors(column)
    assert matrix.dtype == np.float32 and len(matrix) == rows
    assert matrix.tolist() == np.float32(vectors).tolist()


@given(st.fixed_dictionaries({name: st.none() | st.text('a"\\é😀', max_size=300) for name in MAX_TEXT_BYTES}))
def test_an_entity_fits_its_fields(texts: dict[str, str | None]) -> None:
    row = {**texts, "payload": '{"price":9.5}', "epoch": 7, VECTOR_FIELD: [0.6, 0.8], "partial": True}
    types = {"epoch": pa.int64(), VECTOR_FIELD: pa.list_(pa.float32()), "partial": pa.bool_()}
    schema = pa.schema([pa.field(name, types.get(name, pa.string())) for name in row])
    batch = pa.RecordBatch.from_pylist([row], schema=schema)
    (entity,) = iter_entities(batch, SCALAR_FIELDS)
    assert entity.keys() == {*SCALAR_FIELDS, VECTOR_FIELD}, "what the ledger alone needs stays here"
    assert all(len(entity[name].encode()) <= limit for name, limit in MAX_TEXT_BYTES.items())
    assert all((text or "").startswith(entity[name]) for name, text in texts.items())
    assert entity["epoch"] == 7 and entity[VECTOR_FIELD].tolist() == np.float32([0.6, 0.8]).tolist()
    assert estimate_entity_bytes(entity) >= 8 + sum(len(entity[name].encode()) for name in MAX_TEXT_BYTES)
    (earlier,) = iter_entities(batch, select_scalar_fields(1))
    assert earlier.keys() == entity.keys() - {"group_id", "payload", "payload_hash", "search_text"}
    assert estimate_entity_bytes(earlier) <= estimate_entity_bytes(entity)
    assert compute_entity_digest(earlier) != compute_entity_digest(entity), "a field that is lacking differs"


def test_a_row_is_a_product_with_its_vector(spark) -> None:
    wanted = spark.createDataFrame(
        [("a", "h1", "2026-01-02", 3), ("b", "h2", "2026-01-01", 2), ("none", "h", "2026-01-02", 3)],
        "product_id string, content_hash string, snapshot_date string, epoch long",
    )
    told = "product_id string, content_hash string, title string, category array<string>, "
    products = spark.createDataFrame(
        [
            ("a", "h1", "A", ["X", "Y", "Z", "Q"], {"color": "red", "Brand": "N"}, "family", '{"price":2}', "f" * 64),
            ("b", "h2", "B", [], {"care": "x" * 61}, None, None, None),
            ("b", "old", "Old", [], {}, None, None, None),
        ],
        told + "attributes map<string,string>, group_id string, payload string, payload_hash string",
    )
    vectors = spark.createDataFrame(
        [("a", "h1", [1.0, 0.0], True), ("b", "h2", [0.0, 1.0], False)],
        "product_id string, content_hash string, vector array<float>, partial boolean",
    )
    rows = join_rows(wanted, products, vectors, "m")
    assert rows.columns == [*SCALAR_FIELDS, VECTOR_FIELD, "partial"]
    found = {row.product_id: row for row in rows.collect()}
    assert found.keys() == {"a", "b"}
    a, b = found["a"], found["b"]
    assert (a.title, a.category, a.category_1, a.category_3, a.brand) == ("A", "X/Y/Z/Q", "X", "Z", "N")
    assert (a.snapshot_date, a.epoch, a.model_version, a.partial) == ("2026-01-02", 3, "m", True)
    assert (b.title, b.category, b.category_1, b.brand, b.epoch) == ("B", "", None, None, 2)
    assert (a.group_id, b.group_id) == ("family", "b")
    assert (a.payload, a.payload_hash, b.payload, b.payload_hash) == ('{"price":2}', "f" * 64, "{}", "")
    assert (a.search_text, b.search_text) == ("A\nN\nQ\nBrand N\ncolor red\na", "B\n\nb")
    of_ledger = join_rows(wanted.withColumn("group_id", F.lit("held")), products, vectors, "m")
    assert {row.group_id for row in of_ledger.collect()} == {"held"}, "the ledger goes before the products"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", [0.6, 0.8]), ("b", [0.0, -1.0])], None),
        ([("a", [0.6, 0.8]), ("b", [0.0, 0.0])], r"1 of 2 vectors are not unit vectors of 2 numbers \(product 'b'"),
        ([("b", [float("nan"), 0.0]), ("a", [1.0, float("inf")])], r"2 of 2 .*'a'"),
        ([("a", [0.6, 0.8, 0.0])], "1 of 1"),
        ([("a", [0.6, 0.8]), ("a", [0.6, 0.8])], "2 rows for 1 products"),
        ([("a", [0.6, 0.8005])], None),
    ],
)
def test_every_row_is_checked_before_the_first_is_sent(spark, rows: list, message: str | None) -> None:
    frame = spark.createDataFrame(rows, "product_id string, vector array<float>")
    if message is None:
        assert check_serving_rows(frame, 2) == len(rows)
    else:
        with pytest.raises(NightStoppedError, match=message):
            check_serving_rows(frame, 2)
