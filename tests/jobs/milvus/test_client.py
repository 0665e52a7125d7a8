"""Tests of the Milvus client, on Milvus Lite and on a real server: any ids, counting, paging, retrying, refusing."""

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest

from jobs.milvus.client import (
    MilvusUnreachableError,
    build_ids_filter,
    connect,
    count_rows,
    detect_backend,
    fetch_rows,
    read_alias_target,
    read_collection_properties,
    scan_rows,
    strip_credentials,
)
from schemas.collection import build_collection_schema
from tests.milvus_rows import make_row

if TYPE_CHECKING:
    from pymilvus import MilvusClient

STRANGE = ["plain", 'a"b', "c'd", "e\\f", "\\", '\\"', "x'\"y", "grün 😀", "{x}", "%_", "né" * 85, "a,b]", " "]


@pytest.fixture
def client(milvus: str, make_settings) -> "Iterator[MilvusClient]":
    with connect(make_settings(milvus=milvus)) as client:
        params = client.prepare_index_params()
        params.add_index("vector", index_type="FLAT", metric_type="IP")
        client.create_collection("c", schema=build_collection_schema(4), index_params=params)
        yield client


def rows(ids: list[str], epoch: int = 1) -> list[dict]:
    vector = np.array([1, 0, 0, 0], np.float32)
    return [make_row("x", product_id=name, epoch=epoch, vector=vector) for name in ids]


def test_what_answers(client: "MilvusClient", milvus: str) -> None:
    assert detect_backend(client) == ("server" if "://" in milvus else "lite")


def test_ids_of_any_kind_are_found_counted_and_deleted(client: "MilvusClient") -> None:
    client.upsert("c", rows(STRANGE))
    assert count_rows(client, "c") == len(STRANGE)
    for name in STRANGE:
        assert [row["product_id"] for row in fetch_rows(client, "c", [name], ["title"])] == [name]
    assert {row["product_id"] for row in fetch_rows(client, "c", STRANGE, [])} == set(STRANGE)
    for left, name in reversed(list(enumerate(STRANGE))):
        client.delete("c", filter=build_ids_filter([name]))
        assert count_rows(client, "c") == left


def test_scan_returns_every_row_once_in_order_of_ids(client: "MilvusClient") -> None:
    ids = [*(f"p{index:04d}" for index in range(900)), *STRANGE]
    random.Random(1).shuffle(ids)
    client.upsert("c", rows(ids))
    client.flush("c")
    client.upsert("c", rows(ids[:400], epoch=2))  # right before reading: what is not flushed counts as well
    pages = list(scan_rows(client, "c", ["epoch"], page_rows=77))
    found = [row["product_id"] for page in pages for row in page]
    assert found == sorted(ids, key=str.encode)
    assert {row["product_id"] for page in pages for row in page if row["epoch"] == 2} == set(ids[:400])
    newer = [row["product_id"] for page in scan_rows(client, "c", [], "epoch > 1", page_rows=50) for row in page]
    assert newer == sorted(ids[:400], key=str.encode)
    assert list(scan_rows(client, "c", [], "epoch > 9")) == []


def test_aliases(client: "MilvusClient") -> None:
    assert read_alias_target(client, "products") is None
    client.create_alias("c", "products")
    assert read_alias_target(client, "products") == "c"
    assert read_collection_properties(client, "c") == {}


def test_nobody_there(make_settings) -> None:
    settings = make_settings(milvus="http://user:secret@127.0.0.1:9", milvus_timeout=1, milvus_retry_seconds=0)
    with pytest.raises(MilvusUnreachableError, match=r"at http://127\.0\.0\.1:9 .*--milvus") as caught:
        connect(settings).__enter__()
    assert "secret" not in str(caught.value)


def test_a_shown_uri_has_no_password() -> None:
    assert strip_credentials("https://u:p@host:19530/db") == "https://host:19530/db"
    assert strip_credentials("var/milvus.db") == "var/milvus.db"
