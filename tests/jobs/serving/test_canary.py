"""Tests of canary queries: a broken index is found, and rows that displace all other neighbours are removed."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

import jobs.serving.canary
from jobs.errors import NightStoppedError
from jobs.milvus.client import connect
from jobs.serving.canary import (
    MIN_QUERIES,
    CanaryBaseline,
    check_self_retrieval,
    measure_neighbour_churn,
    record_neighbours,
    sample_unchanged_ids,
)
from jobs.state.ledger import read_ledger_head
from jobs.state.run_context import RunContext
from schemas.collection import METRIC, VECTOR_FIELD, build_collection_schema
from tests.jobs.serving.test_row_writer import entity
from tests.jobs.serving_shop import ServingShop, ShopItem, build_expected_rows, commit_rows, make_items, make_vector
from tests.jobs.stage_calls import upsert

if TYPE_CHECKING:
    from pymilvus import MilvusClient

FIRST, SECOND = "2026-01-02", "2026-01-03"
COUNT = 30


def row(name: str, vector: np.ndarray, epoch: int = 1) -> dict:
    return {**entity(name), "epoch": epoch, "vector": (vector / np.linalg.norm(vector)).astype(np.float32)}


def around(angle: float) -> np.ndarray:
    return np.array([np.cos(angle), np.sin(angle), 0, 0])


@pytest.fixture
def client(milvus: str, make_settings) -> "Iterator[MilvusClient]":
    """A ring of products: the nearest neighbours of each are the two next to it."""
    with connect(make_settings(milvus=milvus)) as client:
        params = client.prepare_index_params()
        params.add_index(VECTOR_FIELD, index_type="FLAT", metric_type=METRIC)
        client.create_collection("ring", schema=build_collection_schema(4), index_params=params)
        client.upsert("ring", [row(f"p{n:02d}", around(2 * np.pi * n / COUNT)) for n in range(COUNT)])
        client.flush("ring")
        yield client


def test_the_shift_is_the_share_of_lost_neighbours(client: "MilvusClient") -> None:
    assert record_neighbours(client, "ring", [f"p{n:02d}" for n in range(MIN_QUERIES - 1)]) is None, "too few to tell"
    canary = record_neighbours(client, "ring", [f"p{n:02d}" for n in range(20)])
    assert isinstance(canary, CanaryBaseline) and canary.vectors.shape == (20, 4)
    assert measure_neighbour_churn(client, "ring", canary, epoch=2) == 0
    client.upsert("ring", [row("p29", around(0.5), epoch=2)])
    client.delete("ring", filter='product_id == "p28"')
    few = measure_neighbour_churn(client, "ring", canary, epoch=2)
    assert 0 < few < 0.1, "what the night wrote or deleted itself is not lost; what it pushed out is"
    crowd = [row(f"new {n} {m}", around(2 * np.pi * n / COUNT), epoch=2) for n in range(20) for m in range(12)]
    client.upsert("ring", crowd)
    client.flush("ring")
    assert measure_neighbour_churn(client, "ring", canary, epoch=2) > 0.8


def test_a_row_that_does_not_find_itself(client: "MilvusClient") -> None:
    here = [{"product_id": f"p{n:02d}", "vector": around(2 * np.pi * n / COUNT)} for n in range(5)]
    check_self_retrieval(client, "ring", [])
    check_self_retrieval(client, "ring", here)
    twin = {"product_id": "p00's twin", "vector": around(0)}
    check_self_retrieval(client, "ring", [*here, twin])  # whatever has the same vector is as good
    lost = {"product_id": "lost", "vector": np.array([0, 0, 1.0, 0])}
    with pytest.raises(
        NightStoppedError, match=r"1 of 6 rows .* do not find themselves \('lost'.*FLAT index is broken"
    ):
        check_self_retrieval(client, "ring", [*here, lost])


def poisoned(shop: ServingShop, **options: object) -> RunContext:
    """A second run whose new products all have vectors near the served ones."""
    rows = make_items(COUNT)
    upsert(shop.prepare_run(FIRST, rows))
    spam = [ShopItem(f"spam {item.id} {copy}") for item in rows for copy in range(12)]
    context = shop.prepare_run(SECOND, [*rows, *spam], **options)
    vectors = [
        {"product_id": one.id, "content_hash": one.content_hash, "partial": False}
        | {"vector": make_vector(rows[number // 12].content_hash)}
        for number, one in enumerate(spam)
    ]
    partition = {"model_version": shop.model.model_version, "date": SECOND}
    commit_rows(context.lake, "vectors", vectors, partition, "black photos")
    return context


@pytest.mark.long
def test_a_night_that_crowds_all_others_out_is_taken_back(shop: ServingShop) -> None:
    context = poisoned(shop)
    with pytest.raises(
        NightStoppedError, match=r"lost \d+\.\d% of their neighbours; the limit is 50.0%.*--allow-shift"
    ):
        upsert(context)
    assert shop.held(context) == build_expected_rows(make_items(COUNT), FIRST), "readers have what they had"
    assert read_ledger_head(context.lake, shop.model.collection).version == 1
    result = upsert(replace(context, allow_shift=1.0, reason="many copies, as agreed"))
    assert result.counts["upserted"] == 12 * COUNT
    assert result.details["override"] == "--allow-shift 1 (many copies, as agreed)"
    assert float(result.details["shift"]) > 0.5


def test_an_ordinary_night_is_measured(lite_shop: ServingShop) -> None:
    upsert(lite_shop.prepare_run(FIRST, make_items(COUNT)))
    context = lite_shop.prepare_run(SECOND, [*make_items(COUNT - 2), *make_items(2, first=COUNT)])
    details = upsert(context).details
    assert float(details["shift"]) < 0.2 and "override" not in details


def test_products_are_chosen_among_the_untouched(spark) -> None:
    ledger = spark.createDataFrame([(f"p{n}",) for n in range(200)], "product_id string")
    chosen = sample_unchanged_ids(ledger, spark.createDataFrame([("p1",), ("p2",)], "product_id string"))
    assert len(set(chosen)) == jobs.serving.canary.CANARY_QUERIES and not {"p1", "p2"} & set(chosen)
    touched = spark.createDataFrame([("p2",), ("p1",)], "product_id string")
    assert chosen == sample_unchanged_ids(ledger.repartition(3), touched), "the same for the same rows"
