"""Conservation: every delivered row has one fate, and every way of losing one is loud."""

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
    """Change the lake behind everybody's back."""
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
        "delivered": 12, "unchanged": 4, "reused": 4, "encoded": 2, "kept": 0, "quarantined": 2, "stale": 1,
        "partial": 1,
    }  # fmt: skip


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
    "cases", [ASTRAY[:2], pytest.param(ASTRAY[2:], marks=pytest.mark.long)], ids=["two", "the others"]
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
