"""Tests of publish: the alias is created once and only checked afterwards."""

import pytest

from jobs.errors import NightStoppedError
from jobs.milvus.client import connect, read_alias_target
from tests.jobs.serving_shop import ServingShop, make_items
from tests.jobs.stage_calls import publish, upsert

DATE = "2026-01-02"


def test_aliases_are_created_once_and_checked(shop: ServingShop) -> None:
    context = shop.prepare_run(DATE, make_items(3))
    with pytest.raises(NightStoppedError, match=r"no collection .* to publish"):
        publish(context)
    upsert(context)
    assert publish(context).counts == {"created": 2}
    assert publish(context).counts == {"created": 0}
    with connect(context.settings) as client:
        for alias in ("products", "products_ab12ab12"):
            assert read_alias_target(client, alias) == shop.model.collection
        client.create_collection("elsewhere", dimension=4)
        client.alter_alias("elsewhere", "products")
    with pytest.raises(NightStoppedError, match="products points at elsewhere"):
        publish(context)
