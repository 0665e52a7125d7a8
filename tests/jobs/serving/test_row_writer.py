"""Tests of requests to Milvus: bounded size, in sequence, with a check of the lease before each; deletes by id."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.milvus.client import connect, count_rows
from jobs.serving.row_writer import WRITTEN_SCHEMA, RowWriter, iter_local_batches, split_requests
from jobs.serving.rows import estimate_entity_bytes
from schemas.collection import SCALAR_FIELDS, VECTOR_FIELD, build_collection_schema
from tests.milvus_rows import TEXT_FIELDS, make_row

if TYPE_CHECKING:
    from pymilvus import MilvusClient

TEXTS = st.fixed_dictionaries({name: st.text(max_size=40) for name in TEXT_FIELDS})


def entity(name: str, **texts: str) -> dict[str, Any]:
    vector = np.array([0, 1, 0, 0], np.float32)
    return {**make_row(**texts), "product_id": name, "payload": "{}", VECTOR_FIELD: vector}


def batch(*names: str) -> pa.RecordBatch:
    rows = [{**entity(name), "partial": False} for name in names]
    types = {"epoch": pa.int64(), VECTOR_FIELD: pa.list_(pa.float32()), "partial": pa.bool_()}
    schema = pa.schema(
        [pa.field(name, types.get(name, pa.string())) for name in (*SCALAR_FIELDS, VECTOR_FIELD, "partial")]
    )
    return pa.RecordBatch.from_pylist(rows, schema=schema)


@dataclass(frozen=True)
class CountingGuard:
    """A lease that is lost after some checks."""

    most: int = 1_000_000
    checks: list[int] = field(default_factory=list)

    def check(self) -> None:
        self.checks.append(1)
        if len(self.checks) > self.most:
            raise RuntimeError("lost")


@given(st.lists(TEXTS, max_size=30), st.integers(1, 4000))
def test_requests_keep_order_and_stay_below_the_limit(texts: list[dict[str, str]], most: int) -> None:
    rows = [entity(str(number), **text) for number, text in enumerate(texts)]
    for number, row in enumerate(rows):
        row["product_id"] = str(number)
    sent = list(split_requests(rows, most))
    assert [row["product_id"] for request in sent for row in request] == [row["product_id"] for row in rows]
    assert all(sum(map(estimate_entity_bytes, request)) <= most or len(request) == 1 for request in sent)
    for left, right in pairwise(sent):  # no request could have taken one row more
        assert sum(map(estimate_entity_bytes, left)) + estimate_entity_bytes(right[0]) > most


@pytest.fixture
def client(milvus: str, make_settings) -> "Iterator[MilvusClient]":
    with connect(make_settings(milvus=milvus)) as client:
        params = client.prepare_index_params()
        params.add_index(VECTOR_FIELD, index_type="FLAT", metric_type="IP")
        client.create_collection("c", schema=build_collection_schema(4), index_params=params)
        yield client


def test_rows_go_out_in_requests_each_after_a_look_at_the_lease(client: "MilvusClient", make_settings) -> None:
    guard = CountingGuard()
    writer = RowWriter(make_settings(upsert_batch_bytes=2 * estimate_entity_bytes(entity("p00"))), guard, "c")
    names = [f"p{number:02d}" for number in range(11)]
    written = writer.send(client, [batch(*names[:3]), batch(*names[3:])])
    assert (written.rows, len(guard.checks), count_rows(client, "c")) == (11, 6, 11)
    assert [row["product_id"] for row in written.sample] == names[::2]
    assert pa.RecordBatch.from_pylist([vars(written)], schema=WRITTEN_SCHEMA).num_rows == 1, "a task can return it"


def test_a_lost_lease_stops_between_two_requests(client: "MilvusClient", make_settings) -> None:
    writer = RowWriter(make_settings(upsert_batch_bytes=1), CountingGuard(most=2), "c")
    with pytest.raises(RuntimeError, match="lost"):
        writer.send(client, [batch("a", "b", "c", "d")])
    assert count_rows(client, "c") == 2


def test_ids_of_any_kind_are_deleted(client: "MilvusClient", make_settings, spark) -> None:
    names = [f'it\'s "{number}" \\ 😀' for number in range(1201)]
    settings, guard = make_settings(), CountingGuard()
    writer = RowWriter(settings, guard, "c")
    writer.send(client, [batch(*names, "stays")])
    ids = spark.createDataFrame([(name,) for name in names], "product_id string")
    assert writer.delete(client, ids) == 1201
    assert count_rows(client, "c") == 1
    assert len(guard.checks) == 1 + 2


def test_batches_reach_the_driver_as_they_are(spark) -> None:
    rows = [(f"p{number}", [float(number), 0.5]) for number in range(700)]
    frame = spark.createDataFrame(rows, "id string, vector array<float>").repartition(3)
    found = pa.Table.from_batches(list(iter_local_batches(frame))).to_pylist()
    assert sorted((row["id"], tuple(row["vector"])) for row in found) == sorted((name, tuple(v)) for name, v in rows)
