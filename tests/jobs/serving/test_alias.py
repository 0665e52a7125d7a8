"""Tests of aliases: created once, moved with a history for rollbacks, verified by a fresh client."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from jobs.errors import NightStoppedError
from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.milvus.client import connect, read_alias_target
from jobs.serving.alias import (
    AliasMove,
    create_alias,
    current_operator,
    find_previous_collection,
    move_alias,
    read_alias_moves,
    read_model_version,
)
from jobs.settings import Settings
from schemas.collection import METRIC, PROPERTY_MODEL, VECTOR_FIELD, build_collection_schema

if TYPE_CHECKING:
    from pymilvus import MilvusClient

NAMES = ("moon_a", "moon_b", "moon_c")


@pytest.fixture
def settings(milvus: str, make_settings) -> Settings:
    return make_settings(milvus=milvus)


@pytest.fixture
def lake(settings: Settings) -> Lake:
    return Lake(Storage(settings.lake))


@pytest.fixture
def client(settings: Settings) -> "Iterator[MilvusClient]":
    """Three empty collections of three models."""
    with connect(settings) as client:
        for name in NAMES:
            params = client.prepare_index_params()
            params.add_index(VECTOR_FIELD, index_type="FLAT", metric_type=METRIC)
            client.create_collection(
                name, schema=build_collection_schema(4), index_params=params, properties={PROPERTY_MODEL: name[-1] * 64}
            )
        yield client


def test_an_alias_is_created_once(client: "MilvusClient") -> None:
    assert create_alias(client, "products", "moon_a")
    assert not create_alias(client, "products", "moon_b")
    assert read_alias_target(client, "products") == "moon_a"


def test_moves_are_verified_and_noted(client: "MilvusClient", settings: Settings, lake: Lake) -> None:
    create_alias(client, "products", "moon_a")
    assert find_previous_collection(lake, client, "products") is None
    move = move_alias(client, settings, lake, "moon_b", verb="rollout", reason="better")
    assert move == AliasMove("products", "moon_a", "moon_b", "b" * 64, "rollout", "better")
    with connect(settings) as fresh:
        assert read_alias_target(fresh, "products") == read_alias_target(fresh, "products_bbbbbbbb") == "moon_b"
        assert fresh.query("products", filter="epoch > 0") == []  # loaded: it can be read at once
    rows = [row for row in lake.read_arrow("runs").to_pylist() if row["stage"] == "alias"]
    assert sorted(row["outcome"] for row in rows) == ["started", "success"]
    assert dict(rows[0]["details"])["by"] == current_operator() and "@" in current_operator()

    assert move_alias(client, settings, lake, "moon_b", verb="rollout", reason="again").before == "moon_b"
    assert read_alias_moves(lake, "products") == [move, move], "nothing was moved, nothing is noted"
    assert read_alias_moves(lake, "other") == []


def test_the_way_back_is_a_stack(client: "MilvusClient", settings: Settings, lake: Lake) -> None:
    create_alias(client, "products", "moon_a")
    for to in ("moon_b", "moon_c"):
        move_alias(client, settings, lake, to, verb="rollout", reason="")
    assert find_previous_collection(lake, client, "products") == "moon_b"
    move_alias(client, settings, lake, "moon_b", verb="rollback", reason="")
    assert find_previous_collection(lake, client, "products") == "moon_a", "not forwards to the one that was left"
    move_alias(client, settings, lake, "moon_a", verb="rollback", reason="")
    assert find_previous_collection(lake, client, "products") is None
    for to in ("moon_b", "moon_c"):
        move_alias(client, settings, lake, to, verb="rollout", reason="")
    client.drop_alias("products_bbbbbbbb")
    client.drop_collection("moon_b")
    assert find_previous_collection(lake, client, "products") == "moon_a", "what was dropped is passed over"


def test_a_move_that_was_begun_and_not_made_counts_for_nothing(
    client: "MilvusClient", settings: Settings, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_alias(client, "products", "moon_a")
    move_alias(client, settings, lake, "moon_b", verb="rollout", reason="")
    with monkeypatch.context() as patch:
        patch.setattr("jobs.serving.alias._alter", lambda *_: None)
        with pytest.raises(NightStoppedError, match=r"was to name moon_c, but a fresh client finds it at moon_b"):
            move_alias(client, settings, lake, "moon_c", verb="rollout", reason="")
    assert find_previous_collection(lake, client, "products") == "moon_a"


def test_only_collections_of_ours(client: "MilvusClient", settings: Settings, lake: Lake) -> None:
    client.create_collection("foreign", dimension=4)
    assert read_model_version(client, "moon_a") == "a" * 64
    with pytest.raises(NightStoppedError, match="foreign is not one of ours"):
        move_alias(client, settings, lake, "foreign", verb="rollback", reason="")
    with pytest.raises(NightStoppedError, match="no collection moon_x in this Milvus"):
        read_model_version(client, "moon_x")
    assert read_alias_target(client, "products") is None and read_alias_moves(lake, "products") == []
