"""A shop of release 0.1 is upgraded: its lake is migrated, its model stays, and searches return the same results."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from deltalake import DeltaTable

from jobs.commands import nightly
from jobs.errors import OutdatedLakeError, SchemaVersionError
from jobs.lake.store import Lake, open_lake, read_schema_version
from jobs.milvus.client import connect
from jobs.operations import migrate
from jobs.operations.migrate import keep_served_model, migrate_lake
from jobs.operations.migrate_collection import migrate_collection, plan_collection
from jobs.serving.search import search_products
from jobs.settings import Settings
from jobs.stages.runner import NIGHTLY_STAGES, run_stages
from jobs.state.ledger import read_ledger
from jobs.state.model_store import find_stored_model
from jobs.state.run_context import RunContext
from schemas.tables import LAKE_SCHEMA_VERSION, TABLES
from tests.golden_lake import EXPECTED, SETTINGS, golden_lake, put_other_model


@pytest.fixture
def golden():
    with golden_lake() as folder:
        yield folder


@pytest.fixture
def settings(golden: Path, make_settings) -> Settings:
    return make_settings(
        **SETTINGS,
        catalog=str(golden / "catalog" / "2026-03-02.jsonl"),
        mapping=str(golden / "catalog" / "mapping.toml"),
    )


def transactions(table: str) -> dict[str, int]:
    """All application transactions that a table's log knows: attempts, scopes, ledgers, marks."""
    log = sorted(Path(SETTINGS["lake"], table, "_delta_log").glob("*.json"))
    actions = [json.loads(line) for file in log for line in file.read_text().splitlines()]
    return {action["txn"]["appId"]: action["txn"]["version"] for action in actions if "txn" in action}


def test_an_old_lake_is_refused_with_the_command_that_helps(settings: Settings) -> None:
    with pytest.raises(
        SchemaVersionError, match=rf"version 1, this code writes {LAKE_SCHEMA_VERSION}.*moon migrate --lake"
    ) as error:
        open_lake(settings).open("plans")
    assert error.value.exit_status == 2


def test_a_scheduled_run_migrates_an_old_lake_unless_a_setting_forbids_it(
    settings: Settings, golden: Path, spark, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def use_session(settings: Settings, _verb: str, date: str, **_options: object) -> Iterator[RunContext]:
        yield RunContext(spark, open_lake(settings), settings, date)

    monkeypatch.setattr(nightly, "open_context", use_session)
    with pytest.raises(OutdatedLakeError, match="moon migrate --lake"):
        nightly.run_nightly_stages(settings.replace(auto_migrate=False), "2026-03-02", ["pull"], {})
    outcome = nightly.run_nightly_stages(settings, "2026-03-02", ["pull"], {})
    assert outcome.results["pull"].counts["delivered"] == len(Path(settings.catalog or "").read_text().splitlines())
    assert migrate_lake(settings) == []
    assert find_stored_model(open_lake(settings).storage, EXPECTED["status"]["model"])


def test_a_killed_migration_continues_and_loses_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = [name for name in TABLES if DeltaTable.is_deltatable(f"{settings.lake}/{name}")]
    known = {name: transactions(name) for name in tables}
    rows = {name: DeltaTable(f"{settings.lake}/{name}").count() for name in tables}

    set_version = migrate._set_version
    monkeypatch.setattr("jobs.state.lease.is_local_holder_dead", lambda holder: True)
    for table, version in (("snapshots", "3"), ("quarantine", "2"), ("plans", "1-2"), ("plans", "2"), ("runs", "2")):
        # killed after the rows of the table, or before them, and before its version is raised

        def die(lake: Lake, name: str, found: str, killed_at: tuple[str, str] = (table, version)) -> None:
            if (name, found) == killed_at:
                raise KeyboardInterrupt
            set_version(lake, name, found)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(migrate, "_set_version", die)
            migrate_lake(settings)
        with pytest.raises(SchemaVersionError, match="moon migrate --lake"):
            open_lake(settings).open(table)
    assert {one.table for one in migrate_lake(settings)} >= {"runs"}
    assert migrate_lake(settings) == []
    lake = open_lake(settings)
    for name in tables:
        assert read_schema_version(lake.open(name)) == LAKE_SCHEMA_VERSION
        if name != "leases":  # the migration's own lease
            assert lake.open(name).count() == rows[name], name
        assert known[name].items() <= transactions(name).items(), name
    purposes = {(row["date"], row["purpose"]) for row in lake.read_arrow("plans").to_pylist()}
    nightly = {("2026-03-01", "nightly"), ("2026-03-02", "nightly")}
    assert purposes == {*nightly, ("2026-03-02", "out-of-band-15f2b8bf")}
    (refused,) = lake.read_arrow("quarantine").to_pylist()
    assert (refused["date"], refused["purpose"], refused["stage"]) == ("2026-03-02", "nightly", "validate")


@pytest.mark.long
def test_the_old_model_goes_on_after_its_folder_has_another(settings: Settings, golden: Path, spark) -> None:
    migrate_lake(settings)
    assert keep_served_model(settings) is None
    put_other_model(golden / "checkpoints" / "moon-tiny")  # as a new release does to checkpoints/

    for search in EXPECTED["searches"]:
        image = golden / search["image"] if "image" in search else None
        hits = search_products(settings, text=search.get("text"), image=image, k=3)
        assert [hit["product_id"] for hit in hits] == [hit["product_id"] for hit in search["hits"]]
        assert [hit["score"] for hit in hits] == pytest.approx([hit["score"] for hit in search["hits"]], abs=2e-3)

    lake, collection = open_lake(settings), EXPECTED["status"]["collection"]
    catalogue = golden / "catalog" / "2026-03-03.jsonl"
    rows = (golden / "catalog" / "2026-03-02.jsonl").read_text().splitlines()
    changed = json.loads(rows[2]) | {"title": "Another title"}
    catalogue.write_text("\n".join([*rows[:2], json.dumps(changed), *rows[3:]]) + "\n")
    third = settings.replace(catalog=str(catalogue))
    outcome = run_stages(RunContext(spark, lake, third, "2026-03-03"), NIGHTLY_STAGES)
    assert outcome.results["encode"].counts["encoded"] == 1, "an upgrade encodes only what changed"
    assert outcome.results["plan"].details["model"] == EXPECTED["status"]["model"]
    assert outcome.results["publish"].details["collection"] == collection, "the field of this release is no condition"
    held = {row.product_id for row in read_ledger(spark, lake, collection).collect()}
    assert held == {product for product, _, _ in EXPECTED["served"]}

    vectors = lake.open("vectors").version()
    plan = plan_collection(third)
    assert plan is not None and plan.after == f"{collection}_s3"
    migrate_collection(RunContext(spark, lake, third, "2026-03-03"), plan)
    assert lake.open("vectors").version() == vectors, "nothing is encoded"
    with connect(third) as client:
        client.load_collection(plan.after)
        rows = client.query(plan.after, 'product_id != ""', ["group_id"], consistency_level="Strong")
    assert {row["product_id"]: row["group_id"] for row in rows} == {name: name for name in held}
    hits = search_products(third, text=EXPECTED["searches"][0]["text"], k=3)
    assert hits and all(hit["group_id"] == hit["product_id"] for hit in hits)
    again = run_stages(RunContext(spark, lake, third, "2026-03-03"), NIGHTLY_STAGES)
    assert again.results["upsert"].details["collection"] == plan.after
    assert again.results["report"].counts["encoded"] == 0


def test_a_service_loads_the_kept_model(settings: Settings, golden: Path) -> None:
    from moon_model.encoder import MoonEncoder

    migrate_lake(settings)
    assert keep_served_model(settings) is None
    put_other_model(golden / "checkpoints" / "moon-tiny")
    with connect(settings) as client:
        encoder = MoonEncoder.for_collection(client, settings.alias, dtype="float32", device="cpu")
    assert encoder.model_version == EXPECTED["status"]["model"]


def test_a_model_that_is_gone_is_said_with_its_remedy(settings: Settings, golden: Path) -> None:
    put_other_model(golden / "checkpoints" / "moon-tiny")
    migrate_lake(settings)
    assert "moon migrate --model DIR" in (keep_served_model(settings) or "")


@pytest.mark.long
def test_rollout_and_rollback_after_the_upgrade(settings: Settings, golden: Path) -> None:
    def moon(*arguments: str) -> str:
        environment = {**os.environ, **{f"MOON_{name.upper()}": str(value) for name, value in SETTINGS.items()}}
        environment |= {"MOON_CATALOG": settings.catalog or "", "MOON_MAPPING": settings.mapping or ""}
        command = [sys.executable, "-m", "jobs.cli", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    migrated = json.loads(moon("migrate", "--json"))
    assert migrated["warning"] is None
    assert migrated["collection"]["after"] == f"{EXPECTED['status']['collection']}_s3"
    put_other_model(golden / "checkpoints" / "moon-tiny")
    other = json.loads(moon("rollout", "--model", str(golden / "checkpoints" / "moon-tiny"), "--yes", "--json"))
    assert (other["state"], other["after"]) == ("switched", f"{EXPECTED['other_collection']}_s3")
    back = json.loads(moon("rollback", "--reason", "test", "--json"))
    assert back["to"] == f"{EXPECTED['status']['collection']}_s3"
    assert json.loads(moon("status", "--json"))["model"] == EXPECTED["status"]["model"]
