"""Tests of rollback: readers get the previous model with the served products; a dry run counts the rows."""

from dataclasses import replace

import pytest

from jobs.errors import NightStoppedError
from jobs.milvus.client import connect, read_alias_target
from jobs.operations.catch_up import catch_up_collection
from jobs.operations.rollback import plan_rollback, run_rollback
from jobs.serving.alias import find_previous_collection, move_alias, read_alias_moves
from jobs.state.run_context import RunContext
from schemas.collection import collection_name
from tests.jobs.serving_shop import ServingShop, commit_rows, make_items, make_vector
from tests.jobs.stage_calls import publish, upsert

FIRST, SECOND = "2026-01-02", "2026-01-03"
OLD, NEW = "ab12" * 16, "cd34" * 16


def know(context: RunContext, version: str, rows: list) -> None:
    """Give a model vectors of some products, as its encode would."""
    vectors = [
        {"product_id": item.id, "content_hash": item.content_hash, "partial": False}
        | {"vector": make_vector(item.content_hash)}
        for item in rows
    ]
    commit_rows(
        context.lake, "vectors", vectors, {"model_version": version, "date": context.date}, f"{version} {context.date}"
    )


@pytest.fixture
def rolled_out(shop: ServingShop, monkeypatch: pytest.MonkeyPatch) -> RunContext:
    """One run with the old model, a rollout, and one run with the new model that changes and deletes products."""
    models = {
        version: replace(shop.model, model_version=version, collection=collection_name(version))
        for version in (OLD, NEW)
    }
    monkeypatch.setattr(
        "jobs.operations.rollback.read_registered_model", lambda lake, settings, version, name: models[version]
    )
    first = shop.prepare_run(FIRST, make_items(4))
    upsert(first)
    publish(first)
    know(first, NEW, make_items(4))
    catch_up_collection(first, models[NEW])
    with connect(first.settings) as client:
        move_alias(client, first.settings, first.lake, models[NEW].collection, verb="rollout", reason="better")
    shop.use_model(**vars(models[NEW]))
    second = shop.prepare_run(SECOND, [*make_items(1, title="Blue"), *make_items(2, first=1)])
    upsert(second)
    know(second, OLD, make_items(1, title="Blue"))
    return second


@pytest.mark.long
def test_the_old_model_comes_back_with_what_is_served_now(shop: ServingShop, rolled_out: RunContext) -> None:
    context = replace(rolled_out, reason="worse for shoes")
    way = plan_rollback(context)
    assert way.as_dict() == {
        "from": collection_name(NEW), "to": collection_name(OLD), "model": OLD, "date": SECOND, "to_date": FIRST,
        "behind": 2, "to_encode": 0, "images": 0, "seconds": None,
    }  # fmt: skip
    with connect(context.settings) as client:
        assert read_alias_target(client, "products") == collection_name(NEW), "looking moves nothing"

    right = {name: row[:2] for name, row in shop.held(context).items()}
    assert run_rollback(context, way).after == collection_name(OLD)
    with connect(context.settings) as client:
        assert (
            read_alias_target(client, "products")
            == read_alias_target(client, "products_ab12ab12")
            == collection_name(OLD)
        )
        assert read_alias_target(client, "products_cd34cd34") == collection_name(NEW), "services may still be at it"
        assert find_previous_collection(context.lake, client, "products") is None
    shop.use_model(model_version=OLD, collection=collection_name(OLD))
    assert {name: row[:2] for name, row in shop.held(context).items()} == right
    last = read_alias_moves(context.lake, "products")[-1]
    assert (last.verb, last.reason, last.before) == ("rollback", "worse for shoes", collection_name(NEW))

    with pytest.raises(NightStoppedError, match=r"has named no other collection before .*--to \(moon_"):
        plan_rollback(context)
    assert plan_rollback(context, NEW[:8]).to.collection == collection_name(NEW), (
        "forwards again, when one says where to"
    )
    for wrong, message in (("beef", "no collection"), (OLD[:6], "the collection that is served")):
        with pytest.raises(NightStoppedError, match=rf"--to {wrong} names {message}: choose one of moon_"):
            plan_rollback(context, wrong)
