"""Tests of ``moon search``, ``status``, ``export`` and ``maintain`` on the command line, on a small collection."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from jobs.cli import app
from jobs.errors import MoonError
from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.milvus.client import connect
from jobs.settings import Settings
from moon_model.encoder import MoonEncoder
from schemas.collection import PROPERTIES, PROPERTY_SCHEMA, VECTOR_FIELD, build_collection_schema
from tests.jobs.serving.test_row_writer import entity
from tests.jobs.serving_shop import commit_rows

TITLES = {"mug": "blue mug [sale]", "boot": "red hiking boot"}


def moon(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})


@pytest.fixture
def stores(make_settings, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Two products, served an hour ago; MOON_LAKE and MOON_MILVUS are set."""
    settings: Settings = make_settings()
    encoder = MoonEncoder.from_pretrained(tiny_checkpoint)
    vectors = encoder.encode_queries(texts=list(TITLES.values()))
    rows = [
        {**entity(name, title=title, category="Home"), VECTOR_FIELD: vector}
        for (name, title), vector in zip(TITLES.items(), vectors, strict=True)
    ]
    values = [encoder.model_version, str(encoder.dim), "c" * 64, str(tiny_checkpoint)]
    with connect(settings) as client:
        params = client.prepare_index_params()
        params.add_index(VECTOR_FIELD, index_type="FLAT", metric_type="IP")
        client.create_collection(
            "moon_a",
            schema=build_collection_schema(encoder.dim),
            index_params=params,
            properties=dict(zip(PROPERTIES, values, strict=True)),
        )
        client.upsert("moon_a", rows)
        client.create_alias("moon_a", "products")
    lake = Lake(Storage(settings.lake))
    marks = {"highwater:moon_a": datetime(2026, 1, 4).toordinal()}
    lake.commit("served", [], attempt="upsert", partition={"collection": "moon_a"}, marks=marks)
    record = {
        "run_id": "r", "stage": "report", "outcome": "success", "counts": [("delivered", 2)],
        "details": [("collection", "moon_a")], "finished_at": datetime.now(UTC) - timedelta(hours=1),
    }  # fmt: skip
    commit_rows(lake, "runs", [record], {"date": "2026-01-04"}, "run", "append")
    monkeypatch.setenv("MOON_LAKE", settings.lake)
    monkeypatch.setenv("MOON_MILVUS", settings.milvus)
    return settings


def test_search(stores: Settings, photo, tmp_path: Path) -> None:
    shown = moon("search", "red hiking boot", "--k", "1", "--json")
    (hit,) = json.loads(shown.stdout)
    assert (hit["product_id"], hit["title"], hit["category"]) == ("boot", "red hiking boot", "Home")
    table = moon("search", "mug", "--filter", 'title like "blue%"')
    assert "blue mug [sale]" in table.stdout and "boot" not in table.stdout
    (tmp_path / "photo.jpg").write_bytes(photo(1))
    assert len(json.loads(moon("search", "--image", str(tmp_path / "photo.jpg"), "--json").stdout)) == 2
    assert "Nothing matches" in moon("search", "mug", "--filter", 'brand == "none"').stdout
    wrong = moon("search", "--json")
    assert isinstance(wrong.exception, MoonError) and wrong.stdout == ""
    assert moon("search", "x", "--k", "0").exit_code == 2


def set_groups(settings: Settings, groups: dict[str, str]) -> None:
    """Make the collection one of schema version 2 and give its products their groups."""
    with connect(settings) as client:
        client.load_collection("moon_a")
        client.alter_collection_properties("moon_a", {PROPERTY_SCHEMA: "2"})
        rows = client.query("moon_a", 'product_id != ""', ["*"], consistency_level="Strong")
        client.upsert("moon_a", [{**row, "group_id": groups[row["product_id"]]} for row in rows])


def test_search_shows_a_group_that_is_another_product(stores: Settings) -> None:
    assert "group" not in moon("search", "mug").stdout, "a collection of an earlier release"
    set_groups(stores, {"mug": "mug", "boot": "boot"})
    assert "group" not in moon("search", "mug").stdout, "each product is its own group"
    set_groups(stores, {"mug": "family", "boot": "boot"})
    table = moon("search", "mug").stdout
    assert "group" in table and table.count("family") == 1 and table.count("boot") == 2, "once as id, once in its title"
    hits = json.loads(moon("search", "mug", "--json").stdout)
    assert {hit["product_id"]: hit["group_id"] for hit in hits} == {"mug": "family", "boot": "boot"}


def test_status(stores: Settings) -> None:
    found = json.loads(moon("status", "--json", "--max-age", "2h").stdout)
    assert (found["collection"], found["rows"], found["fresh"]) == ("moon_a", 2, True)
    assert 3500 < found["age_seconds"] < 7200  # the fixture is an hour old, and more on a crowded machine
    old = moon("status", "--json", "--max-age", "30m")
    assert old.exit_code == 1 and json.loads(old.stdout)["fresh"] is False
    assert re.search(r"1:\d\d:\d\d old", old.stderr)
    shown = moon("status").stdout
    assert "products → moon_a" in shown and re.search(r" 1:\d\d:\d\d ", shown) and "2 delivered" in shown
    assert "moon_a" in shown and "MiB on disk" in shown and "2026-01-04 r success at" in shown
    assert found["collections"] == [
        {"name": "moon_a", "model": found["model"], "rows": 2, "aliases": ["products"]},
    ]
    assert found["last_success"] == found["last_run"] and found["disk"]["lake"] > 0
    assert isinstance(moon("status", "--max-age", "soon").exception, MoonError)


def test_status_shows_text_as_it_is(stores: Settings) -> None:
    lake = Lake(Storage(stores.lake))
    failed = {
        "run_id": "x", "stage": "plan", "outcome": "failed", "details": [("error", "[b]1[/b] :smile: <b>")],
        "finished_at": datetime.now(UTC),
    }  # fmt: skip
    commit_rows(lake, "runs", [failed], {"date": "2026-01-05"}, "run 2", "append")
    shown = moon("status").stdout
    assert "[b]1[/b] :smile: <b>" in shown and "2026-01-05 plan failed" in shown
    assert "2026-01-04 r success" in shown, "the last success stays"


def test_status_of_nothing(make_settings) -> None:
    settings = make_settings()
    shown = moon("status", "--lake", settings.lake, "--milvus", settings.milvus)
    assert shown.exit_code == 0 and "nothing: run `moon nightly`" in shown.stdout


def test_quarantine(stores: Settings, tmp_path: Path) -> None:
    lake = Lake(Storage(stores.lake))
    refused = {"source_row": 7, "product_id": "[b]7", "reason": "no_image", "detail": ":smile: none"}
    partition = {"date": "2026-01-04", "purpose": "nightly", "stage": "validate"}
    commit_rows(lake, "quarantine", [refused], partition, "validate", "append")
    day = ("quarantine", "--date", "2026-01-04")
    assert [row["product_id"] for row in json.loads(moon(*day, "--json").stdout)] == ["[b]7"]
    shown = moon(*day, "--out", str(tmp_path / "a.csv")).stdout
    assert "[b]7" in shown and ":smile:" in shown and "1 rows in" in shown
    assert "Nothing was refused" in moon(*day, "--reason", "empty_title").stdout
    assert isinstance(moon(*day, "--reason", "nonsense").exception, MoonError)


def test_export(stores: Settings, tmp_path: Path) -> None:
    out = tmp_path / "served.parquet"
    assert json.loads(moon("export", "--out", str(out), "--json").stdout) == {"file": str(out), "rows": 2}
    assert set(pq.read_table(out)["product_id"].to_pylist()) == set(TITLES)
    assert f"2 rows in {out}" in moon("export", "--out", str(out)).stdout
    assert moon("export").exit_code == 2


@pytest.mark.long
def test_maintain(stores: Settings) -> None:
    """Starts a Spark session of its own, as the command does."""
    import subprocess
    import sys

    command = [sys.executable, "-m", "jobs.cli", "maintain", "--dry-run", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"dry_run": True, "actions": []}


@pytest.mark.parametrize("verb", ["search", "status", "quarantine", "export", "maintain"])
def test_help_teaches_by_example(verb: str) -> None:
    shown = moon(verb, "--help").stdout
    assert "--json" in shown
    assert f"moon {verb}" in shown
