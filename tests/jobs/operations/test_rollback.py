"""rollback: readers get the model back that they had, with what is served now; a dry run says how far it is behind."""

from dataclasses import replace

import pytest

from jobs.errors import NightStoppedError
from jobs.milvus.client import alias_target, connect
from jobs.operations.catch_up import catch_up
from jobs.operations.rollback import rollback, way_back
from jobs.serving.alias import move_alias, moves, previous_collection
from jobs.stages.publish import publish
from jobs.stages.upsert import upsert
from jobs.state.run_context import Night
from schemas.collection import collection_name
from tests.jobs.serving_shop import Shop, items, vector_of, write

FIRST, SECOND = "2026-01-02", "2026-01-03"
OLD, NEW = "ab12" * 16, "cd34" * 16


def know(night: Night, version: str, rows: list) -> None:
    """Give a model vectors of some products, as its encode would."""
    vectors = [
        {"product_id": item.id, "content_hash": item.content_hash, "partial": False}
        | {"vector": vector_of(item.content_hash)}
        for item in rows
    ]
    write(night.lake, "vectors", vectors, {"model_version": version, "date": night.date}, f"{version} {night.date}")


@pytest.fixture
def rolled_out(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Night:
    """One night of the old model, a rollout, one night of the new model that changes and deletes."""
    models = {
        version: replace(shop.model, model_version=version, collection=collection_name(version))
        for version in (OLD, NEW)
    }
    monkeypatch.setattr(
        "jobs.operations.rollback.registered_model", lambda lake, settings, version, name: models[version]
    )
    first = shop.planned(FIRST, items(4))
    upsert(first)
    publish(first)
    know(first, NEW, items(4))
    catch_up(first, models[NEW])
    with connect(first.settings) as client:
        move_alias(client, first.settings, first.lake, models[NEW].collection, verb="rollout", reason="better")
    shop.use_model(**vars(models[NEW]))
    second = shop.planned(SECOND, [*items(1, title="Blue"), *items(2, first=1)])
    upsert(second)
    know(second, OLD, items(1, title="Blue"))
    return second


def test_the_old_model_comes_back_with_what_is_served_now(shop: Shop, rolled_out: Night) -> None:
    night = replace(rolled_out, reason="worse for shoes")
    way = way_back(night)
    assert way.as_dict() == {
        "from": collection_name(NEW), "to": collection_name(OLD), "model": OLD, "date": SECOND, "to_date": FIRST,
        "behind": 2, "to_encode": 0, "images": 0, "seconds": None,
    }  # fmt: skip
    with connect(night.settings) as client:
        assert alias_target(client, "products") == collection_name(NEW), "looking moves nothing"

    right = {name: row[:2] for name, row in shop.held(night).items()}
    assert rollback(night, way).after == collection_name(OLD)
    with connect(night.settings) as client:
        assert alias_target(client, "products") == alias_target(client, "products_ab12ab12") == collection_name(OLD)
        assert alias_target(client, "products_cd34cd34") == collection_name(NEW), "services may still be at it"
        assert previous_collection(night.lake, client, "products") is None
    shop.use_model(model_version=OLD, collection=collection_name(OLD))
    assert {name: row[:2] for name, row in shop.held(night).items()} == right
    last = moves(night.lake, "products")[-1]
    assert (last.verb, last.reason, last.before) == ("rollback", "worse for shoes", collection_name(NEW))

    with pytest.raises(NightStoppedError, match=r"has named no other collection before .*--to \(moon_"):
        way_back(night)
    assert way_back(night, NEW[:8]).to.collection == collection_name(NEW), "forwards again, when one says where to"
    for wrong, message in (("beef", "no collection"), (OLD[:6], "the collection that is served")):
        with pytest.raises(NightStoppedError, match=rf"--to {wrong} names {message}: choose one of moon_"):
            way_back(night, wrong)
