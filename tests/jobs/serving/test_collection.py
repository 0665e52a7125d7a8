"""Tests of a model version's collection: created once from any partial state, refused for another model, verified."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest

from jobs.errors import NightStoppedError
from jobs.milvus.client import connect, detect_backend, read_collection_properties
from jobs.serving.collection import ensure_collection, flush_collection, read_dimension, verify_collection
from jobs.serving.row_writer import WriteResult
from jobs.state.run_context import RunContext
from schemas.collection import (
    MAX_TEXT_BYTES,
    PROPERTIES,
    SEARCH_TEXT_FIELD,
    build_collection_schema,
    read_features,
)
from tests.jobs.serving_shop import DIMENSION, ServingShop, make_items
from tests.milvus_rows import TEXT_FIELDS, make_row

if TYPE_CHECKING:
    from pymilvus import MilvusClient

DATE = "2026-01-02"


@pytest.fixture
def context(shop: ServingShop) -> RunContext:
    return shop.prepare_run(DATE, make_items(1))


@pytest.fixture
def client(context: RunContext) -> "Iterator[MilvusClient]":
    with connect(context.settings) as client:
        yield client


def rows(epoch: int, *ids: str) -> list[dict]:
    vector = np.eye(1, DIMENSION, dtype=np.float32)[0]
    return [make_row("x", product_id=name, epoch=epoch, vector=vector) for name in ids]


def test_fields_and_properties_survive_on_both_kinds_of_milvus(milvus: str, make_settings) -> None:
    properties = {name: f'{name} é "quoted", {"x" * 300}' for name in PROPERTIES}
    with connect(make_settings(milvus=milvus)) as client:
        client.create_collection("c", schema=build_collection_schema(8), properties=properties)
    with connect(make_settings(milvus=milvus)) as client:
        assert read_collection_properties(client, "c") == properties
        described = {field["name"]: field["params"] for field in client.describe_collection("c")["fields"]}
    assert {described[name]["max_length"] - MAX_TEXT_BYTES[name] for name in TEXT_FIELDS} == {0}
    assert described["vector"]["dim"] == 8


def test_it_is_made_once_and_completed(shop: ServingShop, context: RunContext, client: "MilvusClient") -> None:
    plan = shop.plan(context)
    assert read_dimension(context.lake, plan.model_version) == DIMENSION
    properties = {
        "moon.model_version": shop.model.model_version,
        "moon.dimension": str(DIMENSION),
        "moon.preprocessing": "0" * 64,
        "moon.checkpoint": "/checkpoints/test",
    }
    client.create_collection(  # all that a run killed here had done
        plan.collection, schema=build_collection_schema(DIMENSION), properties=properties
    )
    for _ in range(2):
        ensure_collection(client, context, plan, DIMENSION, 10)
        assert read_collection_properties(client, plan.collection) == properties
        assert client.describe_index(plan.collection, "vector")["metric_type"] == "IP"
        assert client.query(plan.collection, filter="epoch > 0", output_fields=["title"]) == []


def test_another_models_collection_is_refused(shop: ServingShop, context: RunContext, client: "MilvusClient") -> None:
    plan = shop.plan(context)
    client.create_collection(plan.collection, schema=build_collection_schema(DIMENSION))
    with pytest.raises(NightStoppedError, match=r"moon\.model_version is missing and not ab12"):
        ensure_collection(client, context, plan, DIMENSION, 10)


def test_an_index_that_the_backend_lacks_is_refused(lite_shop: ServingShop) -> None:
    context = lite_shop.prepare_run(DATE, make_items(1), index="SCANN")
    with (
        connect(context.settings) as client,
        pytest.raises(NightStoppedError, match=r"Milvus Lite has no SCANN index.*MOON_INDEX"),
    ):
        ensure_collection(client, context, lite_shop.plan(context), DIMENSION, 10)


def test_what_is_held_is_compared_row_by_row(shop: ServingShop, context: RunContext, client: "MilvusClient") -> None:
    plan = shop.plan(context)
    ensure_collection(client, context, plan, DIMENSION, 10)
    held = [*rows(1, "old"), *rows(2, "a", "b")]
    features = read_features(read_collection_properties(client, plan.collection))
    assert features == (("bm25", "json") if detect_backend(client) == "lite" else ("json",))
    client.upsert(plan.collection, [row | ({SEARCH_TEXT_FIELD: "x"} if "bm25" in features else {}) for row in held])
    flush_collection(client, plan.collection)
    sample = [{name: row[name] for name in ("product_id", "content_hash", "vector")} for row in rows(2, "a", "b")]

    def check(rows: int = 3, of_epoch: int = 2, **changed: object) -> None:
        written = WriteResult(2, [sample[0], {**sample[1], **changed}])
        verify_collection(client, plan.collection, rows=rows, epoch=2, epoch_rows=of_epoch, written=written)

    check()
    with pytest.raises(NightStoppedError, match="holds 3 rows, 2 of them from this run; it must be 4 and 2"):
        check(rows=4)
    with pytest.raises(NightStoppedError, match="2 of them from this run; it must be 3 and 3"):
        check(of_epoch=3)
    slightly_off = sample[1]["vector"] + np.float32(1e-6)
    for changed in ({"vector": slightly_off}, {"content_hash": "y"}, {"product_id": "gone"}):
        with pytest.raises(NightStoppedError, match="1 of 2 rows read back"):
            check(**changed)
