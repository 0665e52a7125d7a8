"""Tests of the comparison with the ledger: a table of cases, and the property that no row is lost."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.state.changes import compare_with_ledger, select_stale

PRODUCTS = "product_id string, content_hash string, group_id string, payload_hash string, source_row bigint"
LEDGER = (
    "product_id string, content_hash string, partial boolean, snapshot_date string, group_id string, "
    "payload_hash string"
)
YESTERDAY, TONIGHT = "2026-01-01", "2026-01-02"
KEYS = "product_id string, content_hash string"


def outcome(spark, *, products=(), ledger=(), refused=(), vectors=(), deletes=True, groups=True, payload=True):
    """The rows of the comparison by product id, and the stale ids."""
    delivered = spark.createDataFrame([(*(*one, None, None)[:4], row) for row, one in enumerate(products)], PRODUCTS)
    held = spark.createDataFrame([(*row, *(YESTERDAY, None, None)[len(row) - 3 :]) for row in ledger], LEDGER)
    ids = spark.createDataFrame([(p,) for p in refused], "product_id string")
    made = spark.createDataFrame(list(vectors), KEYS)
    options = {"date": TONIGHT, "with_deletes": deletes, "with_groups": groups, "with_payload": payload}
    rows = compare_with_ledger(delivered, held, ids, made, **options).collect()
    by_id = {row.product_id: row for row in rows}
    assert len(rows) == len(by_id)
    return by_id, {row.product_id for row in select_stale(delivered, held, ids).collect()}


CASES = {
    "first night": ({"products": [("a", "1")]}, {"a": "new"}, set()),
    "unchanged": ({"products": [("a", "1")], "ledger": [("a", "1", False)]}, {}, set()),
    "another hash": ({"products": [("a", "2")], "ledger": [("a", "1", False)]}, {"a": "changed"}, set()),
    "partial is retried": ({"products": [("a", "1")], "ledger": [("a", "1", True)]}, {"a": "changed"}, set()),
    "partial, tried tonight already": ({"products": [("a", "1")], "ledger": [("a", "1", True, TONIGHT)]}, {}, set()),
    "partial of tonight, other content": (
        {"products": [("a", "2")], "ledger": [("a", "1", True, TONIGHT)]}, {"a": "changed"}, set(),
    ),
    "partial, whole vector at hand": (
        {"products": [("a", "1")], "ledger": [("a", "1", True)], "vectors": [("a", "1")]}, {"a": "reuse"}, set(),
    ),
    "new with a vector": ({"products": [("a", "1")], "vectors": [("a", "1")]}, {"a": "reuse"}, set()),
    "changed back": (
        {"products": [("a", "1")], "ledger": [("a", "2", False)], "vectors": [("a", "1"), ("a", "2")]},
        {"a": "reuse"}, set(),
    ),
    "vector of another product": ({"products": [("a", "1")], "vectors": [("b", "1")]}, {"a": "new"}, set()),
    "vector of other content": ({"products": [("a", "1")], "vectors": [("a", "2")]}, {"a": "new"}, set()),
    "unchanged with a vector": (
        {"products": [("a", "1")], "ledger": [("a", "1", False)], "vectors": [("a", "1"), ("a", "1")]}, {}, set(),
    ),
    "absent": ({"ledger": [("a", "1", False)]}, {"a": "deleted"}, set()),
    "absent and partial": ({"ledger": [("a", "1", True)]}, {"a": "deleted"}, set()),
    "refused: delete held": ({"ledger": [("a", "1", False)], "refused": ["a", "a"]}, {}, {"a"}),
    "one row refused, another good": (
        {"products": [("a", "1")], "ledger": [("a", "1", False)], "refused": ["a"]}, {}, set(),
    ),
    "refused, never served": ({"refused": ["a", None]}, {}, set()),
    "refused without id holds nothing": (
        {"ledger": [("a", "1", False)], "refused": [None]}, {"a": "deleted"}, set(),
    ),
    "nothing at all": ({}, {}, set()),
    "another group": (
        {"products": [("a", "1", "g")], "ledger": [("a", "1", False)], "vectors": [("a", "1")]}, {"a": "reuse"}, set(),
    ),
    "no group any more": (
        {"products": [("a", "1")], "ledger": [("a", "1", False, YESTERDAY, "g")], "vectors": [("a", "1")]},
        {"a": "reuse"}, set(),
    ),
    "same group": ({"products": [("a", "1", "g")], "ledger": [("a", "1", False, YESTERDAY, "g")]}, {}, set()),
    "other content and group": (
        {"products": [("a", "2", "g")], "ledger": [("a", "1", False)], "vectors": [("a", "1")]},
        {"a": "changed"}, set(),
    ),
    "another payload": (
        {"products": [("a", "1", None, "P")], "ledger": [("a", "1", False)], "vectors": [("a", "1")]},
        {"a": "payload"}, set(),
    ),
    "no payload any more": (
        {"products": [("a", "1")], "ledger": [("a", "1", False, YESTERDAY, None, "P")]}, {"a": "payload"}, set(),
    ),
    "same payload": (
        {"products": [("a", "1", None, "P")], "ledger": [("a", "1", False, YESTERDAY, None, "P")]}, {}, set(),
    ),
    "no payload, of two kinds": (
        {"products": [("a", "1")], "ledger": [("a", "1", False, YESTERDAY, None, "")]}, {}, set(),
    ),
    "payload and content": (
        {"products": [("a", "2", None, "P")], "ledger": [("a", "1", False)]}, {"a": "changed"}, set(),
    ),
    "payload of a partial one": (
        {"products": [("a", "1", None, "P")], "ledger": [("a", "1", True, TONIGHT)]}, {"a": "payload"}, set(),
    ),
    "payload of a new one": ({"products": [("a", "1", None, "P")]}, {"a": "new"}, set()),
}  # fmt: skip


@pytest.fixture(scope="module")
def all_cases(spark):
    """All cases in one comparison, each under ids of its own (a Spark job costs more than a row)."""

    def own(name, key):
        rows = CASES[name][0].get(key, ())
        if key == "refused":
            return [product_id and f"{name}/{product_id}" for product_id in rows]
        return [(f"{name}/{product_id}", *rest) for product_id, *rest in rows]

    keys = ("products", "ledger", "refused", "vectors")
    return outcome(spark, **{key: [row for name in CASES for row in own(name, key)] for key in keys})


@pytest.mark.parametrize("name", CASES)
def test_case(all_cases, name):
    rows, stale_ids = all_cases
    _, expected, expected_stale = CASES[name]
    assert {key.split("/")[1]: row.op for key, row in rows.items() if key.startswith(f"{name}/")} == expected
    assert {key.split("/")[1] for key in stale_ids if key.startswith(f"{name}/")} == expected_stale


def test_older_date_deletes_nothing_and_rows_carry_tonights_content(spark):
    ledger = [("a", "1", False), ("x", "0", False), ("gone", "9", False)]
    rows, _ = outcome(spark, products=[("x", "0"), ("a", "2")], ledger=ledger, deletes=False)
    assert {key: (row.op, row.content_hash, row.source_row) for key, row in rows.items()} == {"a": ("changed", "2", 1)}


def test_a_collection_without_the_field_is_not_written_for_a_group(spark):
    products = [("a", "1", "g"), ("b", "2", "g"), ("c", "1"), ("d", "1", "d")]
    ledger = [("a", "1", False), ("b", "1", False), ("c", "1", False, YESTERDAY, "g"), ("d", "1", False)]
    rows, _ = outcome(spark, products=products, ledger=ledger, vectors=[("a", "1")], groups=False)
    assert {key: row.op for key, row in rows.items()} == {"b": "changed"}


def test_a_collection_without_the_field_is_not_written_for_a_payload(spark):
    products = [("a", "1", None, "P"), ("b", "2", None, "P")]
    rows, _ = outcome(spark, products=products, ledger=[("a", "1", False), ("b", "1", False)], payload=False)
    assert {key: row.op for key, row in rows.items()} == {"b": "changed"}


ids = st.integers(0, 39).map("p{}".format)
hashes = st.sampled_from(["1", "2"])


@given(
    products=st.dictionaries(ids, hashes, min_size=5),
    ledger=st.dictionaries(ids, st.tuples(hashes, st.booleans()), min_size=5),
    refused=st.sets(ids),
    vectors=st.sets(st.tuples(ids, hashes)),
)
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_id_has_exactly_one_fate(spark, products, ledger, refused, vectors):
    """No row is lost; and the ops applied to the ledger give exactly this run's products and the stale ones."""
    held = [(p, h, partial) for p, (h, partial) in ledger.items()]
    rows, stale_ids = outcome(spark, products=products.items(), ledger=held, refused=refused, vectors=vectors)
    counts = Counter(row.op for row in rows.values())
    unchanged = {p for p, h in products.items() if ledger.get(p) == (h, False)}
    assert len(products) == counts["new"] + counts["changed"] + counts["reuse"] + len(unchanged)
    assert not unchanged & rows.keys()
    deleted = {p for p, row in rows.items() if row.op == "deleted"}
    assert (ledger.keys() | rows.keys()) - deleted == products.keys() | stale_ids
    assert stale_ids == (refused & ledger.keys()) - products.keys()
    reused = {(p, row.content_hash) for p, row in rows.items() if row.op == "reuse"}
    assert reused == {(p, h) for p, h in vectors if products.get(p) == h} - {(p, products[p]) for p in unchanged}
