"""Tests of the tier of a connection: what the table says of proved tiers is tried on them."""

from typing import TYPE_CHECKING, get_args

import pytest

from jobs.milvus.capabilities import (
    FEATURES,
    PARTIAL_UPDATE,
    TIERS,
    TierError,
    find_tier,
    parse_version,
)
from jobs.milvus.client import connect
from jobs.settings import Settings
from schemas.collection import BM25, JSON, SPARSE_INDEX, SPARSE_METRIC, VECTOR_FIELD, build_collection_schema
from tests.milvus_rows import make_row

if TYPE_CHECKING:
    from pymilvus import MilvusClient


class Server:
    """Says a version."""

    def __init__(self, version: str) -> None:
        self.version = version

    def get_server_version(self) -> str:
        return self.version


@pytest.mark.parametrize(
    ("version", "named", "tier"),
    [
        ("milvus_lite-3.2.2", None, "lite-3.2"),
        ("milvus_lite-3.2.2", "server-2.6", "lite-3.2"),
        ("v2.3.5-lite", None, "server-2.3"),
        ("v2.5.11", None, "server-2.3"),
        ("2.6.1-dev", "server-2.5", "server-2.5"),
        ("a build of our own", None, "server-2.3"),
    ],
)
def test_an_unproved_tier_counts_only_where_it_is_named(version: str, named: str | None, tier: str) -> None:
    assert find_tier(Server(version), named).name == tier


@pytest.mark.parametrize(("version", "named"), [("v2.3.5", "server-2.4"), ("v2.6.0", "lite-3.2"), ("x", "server-2.6")])
def test_a_tier_that_does_not_fit_is_refused(version: str, named: str) -> None:
    with pytest.raises(TierError, match=rf"MOON_MILVUS_TIER={named} does not fit .*version {version}: unset it"):
        find_tier(Server(version), named)


def test_every_feature_of_the_table_is_explained() -> None:
    assert {feature for tier in TIERS.values() for feature in tier.features} <= FEATURES.keys()
    assert [tier.name for tier in TIERS.values() if tier.is_proved] == ["lite-3.2", "server-2.3"]
    assert set(get_args(get_args(Settings.model_fields["milvus_tier"].annotation)[0])) == TIERS.keys()
    assert parse_version("v2.3.5-lite") == (2, 3) and parse_version("") == (0, 0)


@pytest.fixture
def client(milvus: str, make_settings) -> "MilvusClient":
    with connect(make_settings(milvus=milvus)) as client:
        yield client


def test_what_the_table_says_of_a_proved_tier_is_so(client: "MilvusClient") -> None:
    from pymilvus import MilvusException

    tier = find_tier(client)
    words = tuple(tier.features & {BM25, JSON})
    params = client.prepare_index_params()
    params.add_index(VECTOR_FIELD, index_type="FLAT", metric_type="IP")
    if tier.has(BM25):
        params.add_index("search_sparse", index_type=SPARSE_INDEX, metric_type=SPARSE_METRIC)
    client.create_collection("c", schema=build_collection_schema(4, features=words), index_params=params)
    text = {"search_text": "red mug AB-17"} if tier.has(BM25) else {}
    rows = [
        make_row(product_id=name, vector=[1.0, 0, 0, 0], payload={"price": n}, **text) for n, name in enumerate("ab")
    ]
    client.upsert("c", rows)
    update = {"product_id": "a", "payload": {"price": 9.5}, "epoch": 2}
    if tier.has(PARTIAL_UPDATE):
        client.upsert("c", [update], partial_update=True)
    else:
        with pytest.raises(MilvusException):
            client.upsert("c", [update], partial_update=True)
        client.upsert("c", [{**rows[0], **update}])
    client.load_collection("c")
    found = client.query("c", 'payload["price"] > 9', ["vector", "epoch", "title"], consistency_level="Strong")
    assert [(row["product_id"], row["epoch"], list(row["vector"])) for row in found] == [("a", 2, [1.0, 0, 0, 0])]
    if tier.has(BM25):
        (hits,) = client.search("c", data=["ab-17"], anns_field="search_sparse", limit=5, output_fields=["product_id"])
        assert {hit["product_id"] for hit in hits} == {"a", "b"}
