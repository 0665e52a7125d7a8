"""Canary queries: a broken index is noticed, and a night whose vectors crowd everything else out is taken back."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

import jobs.serving.canary
from jobs.errors import NightStoppedError
from jobs.milvus.client import connect
from jobs.serving.canary import LEAST_QUERIES, Canary, check_found, look, shift_of, unchanged_ids
from jobs.stages.upsert import upsert
from jobs.state.ledger import ledger_version
from jobs.state.run_context import Night
from schemas.collection import METRIC, VECTOR_FIELD, build_collection_schema
from tests.jobs.serving.test_row_writer import entity
from tests.jobs.serving_shop import Item, Shop, expected, items, vector_of, write

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
    """A ring of products: each is nearest to those beside it."""
    with connect(make_settings(milvus=milvus)) as client:
        params = client.prepare_index_params()
        params.add_index(VECTOR_FIELD, index_type="FLAT", metric_type=METRIC)
        client.create_collection("ring", schema=build_collection_schema(4), index_params=params)
        client.upsert("ring", [row(f"p{n:02d}", around(2 * np.pi * n / COUNT)) for n in range(COUNT)])
        client.flush("ring")
        yield client


def test_the_shift_is_the_share_of_lost_neighbours(client: "MilvusClient") -> None:
    assert look(client, "ring", [f"p{n:02d}" for n in range(LEAST_QUERIES - 1)]) is None, "too few to tell"
    canary = look(client, "ring", [f"p{n:02d}" for n in range(20)])
    assert isinstance(canary, Canary) and canary.vectors.shape == (20, 4)
    assert shift_of(client, "ring", canary, epoch=2) == 0
    client.upsert("ring", [row("p29", around(0.5), epoch=2)])
    client.delete("ring", filter='product_id == "p28"')
    few = shift_of(client, "ring", canary, epoch=2)
    assert 0 < few < 0.1, "what the night wrote or deleted itself is not lost; what it pushed out is"
    crowd = [row(f"new {n} {m}", around(2 * np.pi * n / COUNT), epoch=2) for n in range(20) for m in range(12)]
    client.upsert("ring", crowd)
    client.flush("ring")
    assert shift_of(client, "ring", canary, epoch=2) > 0.8


def test_a_row_that_does_not_find_itself(client: "MilvusClient") -> None:
    here = [{"product_id": f"p{n:02d}", "vector": around(2 * np.pi * n / COUNT)} for n in range(5)]
    check_found(client, "ring", [])
    check_found(client, "ring", here)
    twin = {"product_id": "p00's twin", "vector": around(0)}
    check_found(client, "ring", [*here, twin])  # whatever has the same vector is as good
    lost = {"product_id": "lost", "vector": np.array([0, 0, 1.0, 0])}
    with pytest.raises(
        NightStoppedError, match=r"1 of 6 rows .* do not find themselves \('lost'.*FLAT index is broken"
    ):
        check_found(client, "ring", [*here, lost])


def poisoned(shop: Shop, **options: object) -> Night:
    """A second night whose new products all look like what is served already."""
    rows = items(COUNT)
    upsert(shop.planned(FIRST, rows))
    spam = [Item(f"spam {item.id} {copy}") for item in rows for copy in range(12)]
    night = shop.planned(SECOND, [*rows, *spam], **options)
    vectors = [
        {"product_id": one.id, "content_hash": one.content_hash, "partial": False}
        | {"vector": vector_of(rows[number // 12].content_hash)}
        for number, one in enumerate(spam)
    ]
    partition = {"model_version": shop.model.model_version, "date": SECOND}
    write(night.lake, "vectors", vectors, partition, "black photos")
    return night


@pytest.mark.long
def test_a_night_that_crowds_all_others_out_is_taken_back(shop: Shop) -> None:
    night = poisoned(shop)
    with pytest.raises(
        NightStoppedError, match=r"lost \d+\.\d% of their neighbours; the limit is 50.0%.*--allow-shift"
    ):
        upsert(night)
    assert shop.held(night) == expected(items(COUNT), FIRST), "readers have what they had"
    assert ledger_version(night.lake, shop.model.collection) == 1
    result = upsert(replace(night, allow_shift=1.0, reason="many copies, as agreed"))
    assert result.counts["upserted"] == 12 * COUNT
    assert result.details["override"] == "--allow-shift 1 (many copies, as agreed)"
    assert float(result.details["shift"]) > 0.5


def test_an_ordinary_night_is_measured(lite_shop: Shop) -> None:
    upsert(lite_shop.planned(FIRST, items(COUNT)))
    night = lite_shop.planned(SECOND, [*items(COUNT - 2), *items(2, first=COUNT)])
    details = upsert(night).details
    assert float(details["shift"]) < 0.2 and "override" not in details


def test_products_are_chosen_among_the_untouched(spark) -> None:
    ledger = spark.createDataFrame([(f"p{n}",) for n in range(200)], "product_id string")
    chosen = unchanged_ids(ledger, spark.createDataFrame([("p1",), ("p2",)], "product_id string"))
    assert len(set(chosen)) == jobs.serving.canary.QUERIES and not {"p1", "p2"} & set(chosen)
    touched = spark.createDataFrame([("p2",), ("p1",)], "product_id string")
    assert chosen == unchanged_ids(ledger.repartition(3), touched), "the same for the same rows"
