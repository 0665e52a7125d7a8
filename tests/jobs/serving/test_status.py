"""Tests of status: what is served and how old it is, from lake and Milvus."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.milvus.client import connect
from jobs.serving.status import AgeError, find_damage, find_next_run, find_staleness, parse_age, read_status
from jobs.state.lease import hold_lease
from schemas.collection import PROPERTIES, VECTOR_FIELD, build_collection_schema
from tests.jobs.serving.test_row_writer import entity
from tests.jobs.serving_shop import ServingShop, commit_rows, make_items
from tests.jobs.stage_calls import upsert

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "hours"), [("26h", 26), ("90m", 1.5), ("2d", 48), ("3600s", 1), ("0.5h", 0.5), (" 1h ", 1)]
)
def test_ages(text: str, hours: float) -> None:
    assert parse_age(text) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "26", "h", "-1h", "1h30m", "1w"])
def test_what_is_no_age(text: str) -> None:
    with pytest.raises(AgeError, match="such as 26h"):
        parse_age(text)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("0 2 * * *", "2026-01-06T02:00+01:00"),
        ("30 23 * * *", "2026-01-05T23:30+01:00"),
        ("0 2 * * 1", None),
        ("0 25 * * *", None),
        ("@daily", None),
    ],
)
def test_the_next_run_of_a_daily_schedule(schedule: str, expected: str | None) -> None:
    assert find_next_run(schedule, "Europe/Berlin", NOW) == expected


def test_nothing_served_yet(make_settings) -> None:
    settings = make_settings()
    found = read_status(settings)
    assert not Path(settings.milvus).exists() and not Path(settings.lake).exists()  # a mistyped path creates nothing
    assert (found["collection"], found["rows"], found["last_run"], found["age_seconds"]) == (None, 0, None, None)
    assert find_staleness(found, timedelta(days=9999), 1.0) == "nothing was ever served"


def test_what_is_served_and_since_when(milvus: str, make_settings) -> None:
    settings = make_settings(milvus=milvus)
    lake = Lake(Storage(settings.lake))
    properties = dict(zip(PROPERTIES, ["a" * 64, "4", "b" * 64, "/models/tiny"], strict=True))
    with connect(settings) as client:
        params = client.prepare_index_params()
        params.add_index(VECTOR_FIELD, index_type="HNSW", metric_type="IP", params={"M": 16, "efConstruction": 100})
        client.create_collection(
            "moon_a", schema=build_collection_schema(4), index_params=params, properties=properties
        )
        client.upsert("moon_a", [entity("p1"), entity("p2")])
        for alias in ("products", "products_aaaaaaaa"):
            client.create_alias("moon_a", alias)
    marks = {"highwater:moon_a": datetime(2026, 1, 4).toordinal()}
    lake.commit("served", [], attempt="upsert", partition={"collection": "moon_a"}, marks=marks)
    runs = [
        ("2026-01-03", "moon_a", "success", 40),
        ("2026-01-04", "moon_a", "success", 30),
        ("2026-01-04", "moon_a", "success", 20),
        ("2026-01-04", "moon_a", "failed", 3),
        ("2026-01-04", "moon_other", "success", 2),
        ("2026-01-02", "moon_a", "success", 1),
    ]
    for number, (date, collection, outcome, hours) in enumerate(runs):
        row = {
            "run_id": f"r{number}",
            "stage": "report",
            "outcome": outcome,
            "counts": [("delivered", number)],
            "details": [("collection", collection)],
            "finished_at": NOW - timedelta(hours=hours),
        }
        commit_rows(lake, "runs", [row], {"date": date}, f"run {number}", "append")

    found = read_status(settings, now=NOW)
    assert found["collection"] == "moon_a" and found["model"] == "a" * 64
    assert (found["rows"], found["dimension"], found["index"], found["checkpoint"]) == (2, 4, "HNSW", "/models/tiny")
    assert found["aliases"] == ["products", "products_aaaaaaaa"]
    assert found["snapshot_date"] == "2026-01-04"
    assert found["age_seconds"] == 20 * 3600, "an older date, a failure and another collection refresh nothing"
    assert found["last_run"] == {
        "run_id": "r5", "date": "2026-01-02", "outcome": "success", "finished_at": "2026-01-05T11:00:00+00:00",
        "rows": {"delivered": 5},
    }  # fmt: skip
    assert find_staleness(found, parse_age("20h"), 0.0) is None
    assert "old" in (find_staleness(found, parse_age("19h"), 0.0) or "")
    assert "kept back" in (find_staleness(found | {"kept_share": 0.02}, parse_age("20h"), 0.01) or "")


def test_rows_that_went_behind_our_back_are_noticed_unless_a_run_writes(lite_shop: ServingShop) -> None:
    context = lite_shop.prepare_run("2026-01-04", make_items(3))
    upsert(context)
    with connect(context.settings) as client:
        client.create_alias(lite_shop.model.collection, context.settings.alias)
    found = read_status(context.settings)
    assert (found["rows"], found["ledger_rows"], found["writer"]) == (3, 3, None)
    assert find_damage(found) is None
    with connect(context.settings) as client:
        client.delete(lite_shop.model.collection, filter='product_id == "p001"')
    damage = find_damage(read_status(context.settings))
    assert "holds 2 rows, and the ledger says 3" in (damage or "") and "moon repair" in (damage or "")
    with hold_lease(context.lake, lite_shop.model.collection, context.settings):
        found = read_status(context.settings)
    assert found["writer"] and find_damage(found) is None
    assert find_damage({**found, "writer": None, "ledger_rows": None}) is None, "an earlier release counted nothing"
