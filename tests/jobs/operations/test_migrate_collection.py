"""Tests of a release with one more field: the new collection is filled from the lake and used from then on."""

from dataclasses import replace
from typing import Any

import pytest

from jobs.errors import NightStoppedError
from jobs.milvus.client import connect, read_alias_target, read_collection_properties
from jobs.operations import migrate_collection as work
from jobs.operations.catch_up import catch_up_collection
from jobs.operations.migrate_collection import migrate_collection, plan_collection
from jobs.operations.repair import repair_collection
from jobs.operations.restore import restore_date
from jobs.operations.retention import find_superseded_vectors
from jobs.operations.retire import retire_collection
from jobs.operations.rollback import plan_rollback, run_rollback
from jobs.serving.alias import find_previous_collection, move_alias, read_alias_moves
from jobs.stages.row_accounting import count_fates
from jobs.state.ledger import keys_held_since, read_ledger, read_ledger_head
from jobs.state.run_context import RunContext
from schemas.collection import PROPERTY_FEATURES, PROPERTY_SCHEMA, collection_name
from tests.jobs.operations.test_rollback import FIRST, NEW, OLD, SECOND, know
from tests.jobs.serving_shop import ServingShop, make_items
from tests.jobs.stage_calls import publish, upsert

THIRD = "2026-01-04"
PRICE = {"price": 9.5}
BEFORE, AFTER = collection_name(OLD, 1), collection_name(OLD)


@pytest.fixture
def served(lite_shop: ServingShop) -> RunContext:
    """Two nights of one model in a collection of version 1, the second one with groups.

    Afterwards one product is partial, and one is kept from the first night.
    """
    lite_shop.use_model(collection=BEFORE)
    first = lite_shop.prepare_run(FIRST, make_items(5))
    upsert(first)
    publish(first)
    rows = [*make_items(2, title="Blue", group_id="family"), *make_items(2, first=2, group_id="family", payload=PRICE)]
    second = lite_shop.prepare_run(SECOND, rows, refused=["p004"], partial=["p001"])
    assert upsert(second).counts["upserted"] == 2, "a group that is not served is no change"
    return second


@pytest.fixture
def rolled_out(lite_shop: ServingShop, served: RunContext, monkeypatch: pytest.MonkeyPatch) -> RunContext:
    """A rollout of another model; a rollback to the first one is possible."""
    monkeypatch.setattr(
        "jobs.operations.rollback.read_registered_model",
        lambda lake, settings, version, name: replace(lite_shop.model, model_version=version, collection=name),
    )
    know(served, OLD, make_items(2, title="Blue"))
    know(served, NEW, [*make_items(2, title="Blue"), *make_items(2, first=2)])
    new = replace(lite_shop.model, model_version=NEW, collection=collection_name(NEW, 1))
    catch_up_collection(served, new)
    with connect(served.settings) as client:
        move_alias(client, served.settings, served.lake, new.collection, verb="rollout", reason="better")
    lite_shop.use_model(**vars(new))
    return served


def ledger(context: RunContext, name: str) -> dict[str, tuple]:
    rows = read_ledger(context.spark, context.lake, name).drop("epoch").collect()
    return {row.product_id: (row.content_hash, row.snapshot_date, row.partial) for row in rows}


def held(context: RunContext, name: str, *fields: str) -> dict[str, tuple]:
    with connect(context.settings) as client:
        client.load_collection(name)
        rows = client.query(name, 'product_id != ""', ["vector", *fields], consistency_level="Strong")
    return {row["product_id"]: (tuple(map(float, row["vector"])), *(row[field] for field in fields)) for row in rows}


def aliases(context: RunContext) -> dict[str, str]:
    with connect(context.settings) as client:
        return {alias: read_alias_target(client, alias) for alias in client.list_aliases()["aliases"]}


@pytest.mark.long
def test_a_new_field_is_filled_from_the_lake_and_readers_follow(
    lite_shop: ServingShop, served: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = ("title", "content_hash", "snapshot_date")
    rows = held(served, BEFORE, *fields)
    told = ledger(served, BEFORE)
    vectors = served.lake.open("vectors").version()
    with connect(served.settings) as client:
        names = [field["name"] for field in client.describe_collection(BEFORE)["fields"]]
        assert "group_id" not in names and read_collection_properties(client, BEFORE)[PROPERTY_SCHEMA] == "1"
    assert repair_collection(served, deep=True, dry_run=True).found.rows == 0
    assert restore_date(replace(served, date=FIRST), dry_run=True).brought_back == 2

    plan = plan_collection(served.settings)
    assert plan is not None and (plan.before, plan.after) == (BEFORE, AFTER)
    for step in ("apply_change", "move_alias"):  # killed with an empty collection, then with a full one

        def die(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(work, step, die)
            migrate_collection(served, plan)
    assert aliases(served)["products"] == BEFORE
    head = read_ledger_head(served.lake, AFTER)
    migrate_collection(served, plan)
    assert read_ledger_head(served.lake, AFTER) == head, "what was filled is not filled again"

    assert held(served, AFTER, *fields) == rows
    assert ledger(served, AFTER) == told
    assert told["p001"][2] and told["p004"][1] == FIRST, "partial and kept rows as they were"
    groups = {name: row[1] for name, row in held(served, AFTER, "group_id").items()}
    assert groups == {**dict.fromkeys(("p000", "p001", "p002", "p003"), "family"), "p004": "p004"}
    payloads = {name: row[1] for name, row in held(served, AFTER, "payload").items()}
    assert payloads == {f"p{number:03d}": PRICE if number in (2, 3) else {} for number in range(5)}
    assert repair_collection(served, deep=True, dry_run=True).found.rows == 0
    assert served.lake.open("vectors").version() == vectors, "nothing was encoded"
    assert aliases(served) == {"products": AFTER, "products_ab12ab12": AFTER}
    with connect(served.settings) as client:
        properties = read_collection_properties(client, AFTER)
        assert properties == {
            **read_collection_properties(client, BEFORE),
            PROPERTY_SCHEMA: "3",
            PROPERTY_FEATURES: "bm25,json",
        }
        assert find_previous_collection(served.lake, client, "products") is None, "no other model was served"
    assert read_alias_moves(served.lake, "products")[-1].verb == "migrate"
    assert plan_collection(served.settings) is None
    with pytest.raises(NightStoppedError, match=f"tells what was served from {SECOND} on"):
        restore_date(replace(served, date=FIRST))

    lite_shop.use_model(collection=AFTER)
    delivered = [*make_items(1, title="Green", group_id="family"), *make_items(2, first=2, group_id="pair")]
    third = lite_shop.prepare_run(THIRD, [*delivered, *make_items(1, first=4)])
    counts = lite_shop.plan(third).counts
    assert (counts.to_encode, counts.reuse, counts.unchanged) == (1, 2, 1)
    upsert(third)
    found = {name: row[1:] for name, row in held(third, AFTER, "title", "group_id").items()}
    assert found == {
        "p000": ("Green", "family"), "p002": ("Mug 2", "pair"), "p003": ("Mug 3", "pair"), "p004": ("Mug 4", "p004"),
    }  # fmt: skip
    assert lite_shop.read_groups(third) == {name: group for name, (_, group) in found.items()}
    counted = count_fates(third, lite_shop.plan(third))
    assert [counted[name] for name in ("delivered", "encoded", "reused", "unchanged")] == [4, 1, 2, 1]
    assert held(third, BEFORE, *fields) == rows, "the old collection stays as it is"


@pytest.mark.long
def test_a_collection_with_groups_gains_payloads(lite_shop: ServingShop) -> None:
    lite_shop.use_model(collection=collection_name(OLD, 2))
    context = lite_shop.prepare_run(FIRST, make_items(3, group_id="family"))
    upsert(context)
    publish(context)
    second = lite_shop.prepare_run(SECOND, make_items(3, group_id="family", payload=PRICE))
    assert lite_shop.plan(second).counts.differing == 0, "a payload that is not served is no change"
    upsert(second)
    migrate_collection(second, plan_collection(second.settings))  # type: ignore[arg-type]
    lite_shop.use_model(collection=AFTER)
    assert {name: row[0] for name, row in lite_shop.read_payloads(second).items()} == dict.fromkeys(
        ("p000", "p001", "p002"), PRICE
    )
    assert set(lite_shop.read_groups(second).values()) == {"family"}
    assert (
        lite_shop.plan(lite_shop.prepare_run(SECOND, make_items(3, group_id="family", payload=PRICE))).counts.payload
        == 0
    )


@pytest.mark.long
def test_rollback_retire_and_retention_know_both_names(lite_shop: ServingShop, rolled_out: RunContext) -> None:
    context, new = rolled_out, collection_name(NEW)
    migrate_collection(context, plan_collection(context.settings))  # type: ignore[arg-type]
    with pytest.raises(NightStoppedError, match="the model that is served"):
        plan_rollback(context, collection_name(NEW, 1))
    plan = plan_rollback(context)
    assert (plan.to.collection, plan.work.products) == (AFTER, 0)
    run_rollback(context, plan)
    assert aliases(context) == {"products": AFTER, "products_ab12ab12": AFTER, "products_cd34cd34": new}
    assert ledger(context, AFTER) == ledger(context, new)
    assert {row[1] for row in held(context, AFTER, "group_id").values()} == {"family"}

    assert retire_collection(context, NEW[:8], dry_run=True).collection == f"{new}, {collection_name(NEW, 1)}"
    retire_collection(context, NEW[:8])
    assert retire_collection(context, BEFORE).rows == 5
    with connect(context.settings) as client:
        assert client.list_collections() == [AFTER]
        assert find_previous_collection(context.lake, client, "products") is None

    lite_shop.use_model(model_version=OLD, collection=AFTER)
    upsert(lite_shop.prepare_run("2026-06-01", make_items(1, title="Newest")))
    needed = {row.content_hash for row in keys_held_since(context.spark, context.lake, AFTER, "2026-01-03").collect()}
    thinned = find_superseded_vectors(context.spark, context.lake, "2026-01-03")
    for part in (part for part in thinned if part.partition["model_version"] == OLD):
        before = context.lake.read_arrow("vectors", part.partition)["content_hash"].to_pylist()
        kept = [row.content_hash for row in part.kept.collect()] if part.kept is not None else []
        assert not needed & {*before} - {*kept}
