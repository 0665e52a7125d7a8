"""Tests of retention: what the lake deletes, and what it must keep because it is served or may be restored."""

from dataclasses import replace

import pytest

from jobs.lake.store import Lake
from jobs.operations.maintain import MaintenanceAction, maintain_lake
from jobs.operations.retention import find_expired_partitions, find_first_kept_date, find_superseded_vectors
from jobs.state.run_context import RunContext
from tests.jobs.serving_shop import ServingShop, ShopItem, build_expected_rows, commit_rows, make_items
from tests.jobs.stage_calls import upsert

OLD, MIDDLE, NEW, LAST = "2026-01-02", "2026-02-10", "2026-03-01", "2026-03-02"


def dates(lake: Lake, table: str) -> set[str]:
    return {partition["date"] for partition in lake.open(table).partitions()}


def nights(shop: ServingShop) -> RunContext:
    """Ten products; p000 is refused ever after, p001 to p003 change, the last ones stay as they were."""
    upsert(shop.prepare_run(OLD, make_items(10)))
    upsert(shop.prepare_run(MIDDLE, [*make_items(3, first=1, title="Blue"), *make_items(6, first=4)], refused=["p000"]))
    last = shop.prepare_run(NEW, [*make_items(3, first=1, title="Green"), *make_items(6, first=4)], refused=["p000"])
    upsert(last)
    return last


@pytest.mark.long
def test_old_dates_go_and_what_is_served_stays(lite_shop: ServingShop) -> None:
    shop = lite_shop
    context = nights(shop)
    lake, right = context.lake, shop.held(context)
    assert find_first_kept_date(lake, 30) == "2026-01-30"
    assert find_superseded_vectors(context.spark, lake, "2026-01-30") == [], (
        "what was served on that date may be restored"
    )
    context = replace(context, settings=context.settings.replace(retention_days=19))
    assert find_first_kept_date(Lake(type(lake.storage)(lake.storage.root + "2")), 30) == ""
    gone = {(part.table, *part.partition.values()) for part in find_expired_partitions(context.spark, lake, MIDDLE)}
    assert {part[:2] for part in gone if part[0] != "changes"} == {("snapshots", OLD), ("plans", OLD)}, (
        "p000 is served as the oldest night told of it: that night's products stay"
    )
    thinned = find_superseded_vectors(context.spark, lake, MIDDLE)
    assert [(part.partition["date"], part.rows) for part in thinned] == [(OLD, 3)]

    actions = maintain_lake(context.spark, lake, context.settings)
    assert MaintenanceAction("vectors", f"superseded vectors: {shop.model.model_version}/{OLD}", 1, 3) in actions
    assert dates(lake, "snapshots") == {MIDDLE, NEW}
    assert dates(lake, "products") == {OLD, MIDDLE, NEW}
    kept = {row["product_id"] for row in lake.read_arrow("vectors", {"date": OLD}).to_pylist()}
    assert kept == {"p000", *(f"p{number:03d}" for number in range(4, 10))}

    rows = [*make_items(3, first=1, title="Green"), *make_items(6, first=4)]
    elsewhere = shop.prepare_run("2026-03-02", rows, refused=["p000"], milvus=context.settings.milvus + "2")
    assert upsert(elsewhere).counts["mended"] == 10, "everything that is served can still be brought back"
    assert shop.held(elsewhere) == right


@pytest.mark.long
def test_dates_are_dropped_once_nothing_needs_them(lite_shop: ServingShop) -> None:
    shop = lite_shop
    upsert(shop.prepare_run(OLD, make_items(3)))
    for date in (NEW, LAST):
        context = shop.prepare_run(date, [*make_items(2), ShopItem("p002", "Changed")], retention_days=1)
        upsert(context)
    maintain_lake(context.spark, context.lake, context.settings)
    for table in ("snapshots", "products", "plans"):
        assert dates(context.lake, table) == {NEW, LAST}
    changed = {run["run_id"][:10] for run in context.lake.open("changes").partitions()}
    assert changed == {NEW}  # the last night changed nothing, the first is past retention
    assert shop.held(context) == build_expected_rows(make_items(2), OLD) | build_expected_rows(
        [ShopItem("p002", "Changed")], NEW
    )


def test_a_young_or_empty_lake_keeps_everything(make_night) -> None:
    context = make_night()
    assert maintain_lake(context.spark, context.lake, context.settings) == []
    commit_rows(context.lake, "snapshots", [{"source_row": 0}], {"date": OLD}, "pull")
    assert find_expired_partitions(context.spark, context.lake, find_first_kept_date(context.lake, 30)) == []
