"""Tests of row accounting: every delivered row has one outcome, and a lost row is always reported."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from jobs.errors import NightStoppedError
from jobs.stages.row_accounting import count_fates
from jobs.state.run_context import RunContext
from tests.jobs.serving_shop import ServingShop, ShopItem, commit_rows, make_items
from tests.jobs.stage_calls import upsert

FIRST, SECOND = "2026-01-02", "2026-01-03"


def rewrite(context: RunContext, table: str, rows: "Rows", partition: dict[str, str]) -> None:
    """Replace rows of a table outside of any stage."""
    commit_rows(context.lake, table, rows, partition, f"rewrite/{uuid.uuid4()}")


def test_every_fate(lite_shop: ServingShop) -> None:
    shop = lite_shop
    upsert(shop.prepare_run(FIRST, make_items(10)))
    back = shop.prepare_run(
        SECOND, [*make_items(6, first=4, title="New"), *make_items(2)], refused=["p002", "p003", "x"]
    )
    upsert(back)
    third = shop.prepare_run(
        "2026-01-04",
        [*make_items(8), ShopItem("fresh"), ShopItem("blind"), *make_items(1, first=9, title="Half")],
        refused=["p008"],
        unreadable=["blind"],
        partial=["p009"],
    )
    upsert(third)
    assert count_fates(third, shop.plan(third)) == {
        "delivered": 12, "unchanged": 4, "reused": 4, "payload": 0,
        "encoded": 2, "kept": 0, "quarantined": 2, "stale": 1,
        "partial": 1, "left_out": 0, "merged": 0,
    }  # fmt: skip


def give_roles(context: RunContext, *roles: tuple[str, int | None]) -> None:
    """Deliver further rows, after those of the run, that are merged into a product or left out."""
    day = context.partition
    snapshot = [{"source_row": row["source_row"]} for row in context.lake.read_arrow("snapshots", day).to_pylist()]
    first = len(snapshot)
    rows = [
        {"source_row": first + number, "product_id": "x", "role": role, "product_row": product}
        for number, (role, product) in enumerate(roles)
    ]
    rewrite(context, "snapshots", [*snapshot, *({"source_row": row["source_row"]} for row in rows)], day)
    rewrite(context, "row_roles", rows, day)


@pytest.mark.long
def test_a_merged_row_has_the_fate_of_its_product(lite_shop: ServingShop) -> None:
    shop = lite_shop
    upsert(shop.prepare_run(FIRST, make_items(3)))
    context = shop.prepare_run(SECOND, [*make_items(3), *make_items(1, first=3)], refused=["bad"], unreadable=["p003"])
    upsert(context)
    # Rows 0 to 2 are unchanged, the photos of row 3 cannot be read, row 4 is refused.
    give_roles(
        context,
        *[("merged", 0)] * 3,
        ("merged", 3),
        ("merged", 4),
        ("left_out", None),
        ("left_out", None),
        ("merged", 2),
    )
    counts = count_fates(context, shop.plan(context))
    assert {name: counts[name] for name in ("delivered", "unchanged", "quarantined", "left_out", "merged")} == {
        "delivered": 13, "unchanged": 7, "quarantined": 4, "left_out": 2, "merged": 6,
    }  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize(
    ("roles", "verdict"),
    [
        ([("merged", 77)], "1 lost"),  # into a product that is not there
        ([("merged", None)], "1 lost"),
        ([("other", 0)], "1 lost"),
    ],
)
def test_a_merged_row_without_a_product_is_loud(lite_shop: ServingShop, roles: list, verdict: str) -> None:
    context = lite_shop.prepare_run(FIRST, make_items(2))
    upsert(context)
    give_roles(context, *roles)
    with pytest.raises(NightStoppedError, match=f"CONSERVATION VIOLATED.*{verdict}"):
        count_fates(context, lite_shop.plan(context))
    give_roles(context, ("merged", 0))
    rewrite(
        context,
        "row_roles",
        [{"source_row": 0, "product_id": "x", "role": "left_out", "product_row": None}],
        context.partition,
    )
    with pytest.raises(NightStoppedError, match="CONSERVATION VIOLATED"):  # a product, and left out
        count_fates(context, lite_shop.plan(context))


Rows = list[dict[str, Any]]

ASTRAY: list[tuple[str, Callable[[Rows], Rows], str]] = [
    ("products", lambda rows: rows[1:], "1 lost"),
    ("served", lambda rows: rows[1:], "1 not served"),
    ("quarantine", lambda rows: [], "1 lost"),
    ("snapshots", lambda rows: rows[1:], "1 invented"),
    ("quarantine", lambda rows: [{**row, "source_row": 0} for row in rows], "1 accounted for twice, 1 lost"),
    ("products", lambda rows: [*rows, rows[0]], "two places"),
    ("vectors", lambda rows: rows[1:], "1 lost"),
]


@pytest.mark.parametrize(
    "cases", [ASTRAY[:1], pytest.param(ASTRAY[1:], marks=pytest.mark.long)], ids=["one", "the others"]
)
def test_a_row_that_goes_astray_is_loud(lite_shop: ServingShop, cases: list) -> None:
    shop = lite_shop
    context = shop.prepare_run(FIRST, make_items(4), refused=["bad"])
    upsert(context)
    partitions = {
        "quarantine": {"date": FIRST, "purpose": "nightly", "stage": "validate"},
        "vectors": {"model_version": shop.model.model_version, "date": FIRST},
        "served": {"collection": shop.model.collection},
    }
    for table, change, verdict in cases:
        partition = partitions.get(table, {"date": FIRST})
        rows = context.lake.read_arrow(table, partition).to_pylist()
        rows = [{key: value for key, value in row.items() if key not in partition} for row in rows]
        rewrite(context, table, change(rows), partition)
        with pytest.raises(NightStoppedError, match=f"CONSERVATION VIOLATED.*{verdict}"):
            count_fates(context, shop.plan(context))
        rewrite(context, table, rows, partition)
    assert count_fates(context, shop.plan(context))["encoded"] == 4


@pytest.mark.long
def test_a_group_that_is_not_served_is_loud(lite_shop: ServingShop) -> None:
    context = lite_shop.prepare_run(FIRST, make_items(2))
    upsert(context)
    partition = {"collection": lite_shop.model.collection}
    rows = context.lake.read_arrow("served", partition).drop(["collection"]).to_pylist()
    rewrite(context, "served", [{**row, "group_id": "other"} for row in rows], partition)
    with pytest.raises(NightStoppedError, match=r"CONSERVATION VIOLATED.*2 not served"):
        count_fates(context, lite_shop.plan(context))
