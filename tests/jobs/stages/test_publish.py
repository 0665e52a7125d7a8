"""publish: the alias is created once and only checked ever after."""

import pytest

from jobs.errors import NightStoppedError
from jobs.milvus.client import alias_target, connect
from jobs.stages.publish import publish
from jobs.stages.upsert import upsert
from tests.jobs.serving_shop import Shop, items

DATE = "2026-01-02"


def test_aliases_are_created_once_and_checked(shop: Shop) -> None:
    night = shop.planned(DATE, items(3))
    with pytest.raises(NightStoppedError, match=r"no collection .* to publish"):
        publish(night)
    upsert(night)
    assert publish(night).counts == {"created": 2}
    assert publish(night).counts == {"created": 0}
    with connect(night.settings) as client:
        for alias in ("products", "products_ab12ab12"):
            assert alias_target(client, alias) == shop.model.collection
        client.create_collection("elsewhere", dimension=4)
        client.alter_alias("elsewhere", "products")
    with pytest.raises(NightStoppedError, match="products points at elsewhere"):
        publish(night)
