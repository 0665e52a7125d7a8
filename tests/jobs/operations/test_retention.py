"""What the lake forgets, and what it must not: whatever is served, or may have to be brought back."""

from dataclasses import replace

import pytest

from jobs.lake.store import Lake
from jobs.operations.maintain import Action, maintain
from jobs.operations.retention import cutoff, old_dates, superseded_vectors
from jobs.stages.upsert import upsert
from jobs.state.run_context import Night
from tests.jobs.serving_shop import Item, Shop, expected, items, write

OLD, MIDDLE, NEW, LAST = "2026-01-02", "2026-02-10", "2026-03-01", "2026-03-02"


def dates(lake: Lake, table: str) -> set[str]:
    return {partition["date"] for partition in lake.open(table).partitions()}


def nights(shop: Shop) -> Night:
    """Ten products; p000 is refused ever after, p001 to p003 change, the last ones stay as they were."""
    upsert(shop.planned(OLD, items(10)))
    upsert(shop.planned(MIDDLE, [*items(3, first=1, title="Blue"), *items(6, first=4)], refused=["p000"]))
    last = shop.planned(NEW, [*items(3, first=1, title="Green"), *items(6, first=4)], refused=["p000"])
    upsert(last)
    return last


@pytest.mark.long
def test_old_dates_go_and_what_is_served_stays(lite_shop: Shop) -> None:
    shop = lite_shop
    night = nights(shop)
    lake, right = night.lake, shop.held(night)
    assert cutoff(lake, 30) == "2026-01-30"
    assert superseded_vectors(night.spark, lake, "2026-01-30") == [], "what was served on that date may be restored"
    night = replace(night, settings=night.settings.replace(retention_days=19))
    assert cutoff(Lake(type(lake.storage)(lake.storage.root + "2")), 30) == ""
    gone = {(part.table, *part.partition.values()) for part in old_dates(night.spark, lake, MIDDLE)}
    assert {part[:2] for part in gone if part[0] != "changes"} == {("snapshots", OLD), ("plans", OLD)}, (
        "p000 is served as the oldest night told of it: that night's products stay"
    )
    thinned = superseded_vectors(night.spark, lake, MIDDLE)
    assert [(part.partition["date"], part.rows) for part in thinned] == [(OLD, 3)]

    actions = maintain(night.spark, lake, night.settings)
    assert Action("vectors", f"superseded vectors: {shop.model.model_version}/{OLD}", 1, 3) in actions
    assert dates(lake, "snapshots") == {MIDDLE, NEW}
    assert dates(lake, "products") == {OLD, MIDDLE, NEW}
    kept = {row["product_id"] for row in lake.read_arrow("vectors", {"date": OLD}).to_pylist()}
    assert kept == {"p000", *(f"p{number:03d}" for number in range(4, 10))}

    rows = [*items(3, first=1, title="Green"), *items(6, first=4)]
    elsewhere = shop.planned("2026-03-02", rows, refused=["p000"], milvus=night.settings.milvus + "2")
    assert upsert(elsewhere).counts["mended"] == 10, "everything that is served can still be brought back"
    assert shop.held(elsewhere) == right


@pytest.mark.long
def test_dates_are_dropped_once_nothing_needs_them(lite_shop: Shop) -> None:
    shop = lite_shop
    upsert(shop.planned(OLD, items(3)))
    for date in (NEW, LAST):
        night = shop.planned(date, [*items(2), Item("p002", "Changed")], retention_days=1)
        upsert(night)
    maintain(night.spark, night.lake, night.settings)
    for table in ("snapshots", "products", "plans"):
        assert dates(night.lake, table) == {NEW, LAST}
    changed = {run["run_id"][:10] for run in night.lake.open("changes").partitions()}
    assert changed == {NEW}  # the last night changed nothing, the first is past retention
    assert shop.held(night) == expected(items(2), OLD) | expected([Item("p002", "Changed")], NEW)


def test_a_young_or_empty_lake_keeps_everything(make_night) -> None:
    night = make_night()
    assert maintain(night.spark, night.lake, night.settings) == []
    write(night.lake, "snapshots", [{"source_row": 0}], {"date": OLD}, "pull")
    assert old_dates(night.spark, night.lake, cutoff(night.lake, 30)) == []
