"""Tests of retire: an old collection and its pinned alias are dropped; the lake can fill the collection again."""

from dataclasses import replace

import pytest

from jobs.errors import NightStoppedError
from jobs.milvus.client import connect, read_alias_target, scan_rows
from jobs.operations.catch_up import catch_up_collection
from jobs.operations.retire import retire_collection
from jobs.serving.alias import move_alias
from jobs.state.run_context import RunContext
from schemas.collection import collection_name, pinned_alias
from tests.jobs.operations.test_rollback import FIRST, NEW, OLD, know
from tests.jobs.serving_shop import ServingShop, make_items
from tests.jobs.stage_calls import publish, upsert


@pytest.fixture
def left(shop: ServingShop) -> RunContext:
    """A run with the old model, then a rollout of the new one: the alias no longer names the old collection."""
    first = shop.prepare_run(FIRST, make_items(4))
    upsert(first)
    publish(first)
    know(first, NEW, make_items(4))
    new = replace(shop.model, model_version=NEW, collection=collection_name(NEW))
    catch_up_collection(first, new)
    with connect(first.settings) as client:
        move_alias(client, first.settings, first.lake, new.collection, verb="rollout", reason="better")
    return replace(first, reason="a month without complaints")


@pytest.mark.long
def test_a_retired_collection_is_gone_and_comes_back_from_the_lake(shop: ServingShop, left: RunContext) -> None:
    old, alias = collection_name(OLD), left.settings.alias
    looked = retire_collection(left, OLD[:6], dry_run=True)
    assert looked.as_dict() == {"collection": old, "model_version": OLD, "date": FIRST, "rows": 4}
    with connect(left.settings) as client:
        assert client.has_collection(old), "a dry run drops nothing"
    assert retire_collection(left, OLD[:6]) == looked
    with connect(left.settings) as client:
        assert client.list_collections() == [collection_name(NEW)]
        assert read_alias_target(client, alias) == collection_name(NEW)
        assert read_alias_target(client, pinned_alias(alias, OLD)) is None
    last = max(left.lake.read_arrow("runs").to_pylist(), key=lambda row: row["finished_at"])
    assert last["stage"] == "retire"
    assert dict(last["details"])["reason"] == "a month without complaints"

    catch_up_collection(left, replace(shop.model, model_version=OLD, collection=old))
    with connect(left.settings) as client:
        client.load_collection(old)
        assert {row["product_id"] for page in scan_rows(client, old, ["product_id"]) for row in page} == {
            item.id for item in make_items(4)
        }


def test_what_readers_use_is_not_retired(left: RunContext) -> None:
    with pytest.raises(
        NightStoppedError, match=f"--model {NEW[:6]} names the collection that is served: choose one of"
    ):
        retire_collection(left, NEW[:6])
    with pytest.raises(NightStoppedError, match="--model ffff names no collection"):
        retire_collection(left, "ffff")
    with pytest.raises(NightStoppedError, match="--model  names no collection"):
        retire_collection(left, "")
    with connect(left.settings) as client:
        client.create_alias(collection_name(OLD), "the_other_team")
    with pytest.raises(NightStoppedError, match="alias the_other_team names"):
        retire_collection(left, OLD)
    with connect(left.settings) as client:
        client.drop_alias("the_other_team")
        assert client.has_collection(collection_name(OLD))
