"""Tests of products that only earlier dates delivered without errors, in a collection that follows the served one."""

from dataclasses import replace

import pytest

from jobs.operations.carry_over import carry_over_products
from jobs.state.ledger import read_ledger_head
from schemas.collection import collection_name
from tests.jobs.serving_shop import build_expected_rows, commit_rows, make_items, make_vector
from tests.jobs.stage_calls import upsert

FIRST, SECOND = "2026-01-02", "2026-01-03"
OTHER = "cd34" * 16


@pytest.mark.long
def test_what_tonight_refuses_and_readers_see_is_brought_over_once(lite_shop):
    upsert(lite_shop.prepare_run(FIRST, make_items(4)))
    context = lite_shop.prepare_run(SECOND, make_items(2), refused=["p002"])  # p002 stays, p003 goes
    upsert(context)
    served, other = lite_shop.model, replace(lite_shop.model, model_version=OTHER, collection=collection_name(OTHER))
    made = [
        {"product_id": item.id, "content_hash": item.content_hash, "vector": make_vector(item.content_hash)}
        | {"partial": False}
        for item in make_items(4)
    ]
    commit_rows(context.lake, "vectors", made, {"model_version": OTHER, "date": FIRST}, "other model")
    lite_shop.model = other
    assert carry_over_products(context, other, served.collection) == 1
    assert lite_shop.held(context) == build_expected_rows([make_items(4)[2]], FIRST)
    assert (
        str(read_ledger_head(context.lake, other.collection).high_water) == FIRST
    )  # what catching up afterwards mends
    assert carry_over_products(context, other, served.collection) == 0


@pytest.mark.long
def test_a_kept_product_comes_with_the_group_that_readers_see(lite_shop):
    served, other = lite_shop.model, replace(lite_shop.model, model_version=OTHER, collection=collection_name(OTHER))
    for model in (other, served):
        lite_shop.model = model
        upsert(lite_shop.prepare_run(FIRST, make_items(2)))
    upsert(lite_shop.prepare_run(SECOND, make_items(2, group_id="family")))
    third = lite_shop.prepare_run("2026-01-04", make_items(1, group_id="family"), refused=["p001"])
    upsert(third)
    lite_shop.model = other
    assert lite_shop.read_groups(third) == {"p000": "p000", "p001": "p001"}
    assert carry_over_products(third, other, served.collection) == 1
    assert lite_shop.read_groups(third)["p001"] == "family"
    assert carry_over_products(third, other, served.collection) == 0
