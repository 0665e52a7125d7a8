"""A current lake needs no migration, a missing one gets no tables, a later one is refused."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.schema import Schema

from jobs.errors import SchemaVersionError
from jobs.lake.storage import Storage
from jobs.lake.store import SCHEMA_PROPERTY, open_lake
from jobs.lake.writing import FileSink
from jobs.operations import migrate
from jobs.operations.migrate import MigrationError, _split_date, migrate_lake
from jobs.settings import Settings
from jobs.state.lease import LeaseBusyError, hold_lease
from schemas.tables import LAKE_SCHEMA_VERSION, TABLES


def test_a_lake_of_this_release_is_left_alone(make_settings) -> None:
    settings = make_settings()
    open_lake(settings).open("plans")
    assert migrate_lake(settings) == []


def test_a_lake_that_is_not_there_is_not_made(make_settings) -> None:
    settings = make_settings()
    assert migrate_lake(settings, dry_run=True) == []
    assert not Path(settings.lake).exists()


def test_a_lake_of_a_later_release_is_refused(make_settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = make_settings()
    open_lake(settings).open("plans")
    monkeypatch.setattr("jobs.operations.migrate.LAKE_SCHEMA_VERSION", 1)
    with pytest.raises(MigrationError, match=r"later release.*plans"):
        migrate_lake(settings)


def test_the_suffix_of_a_date_becomes_a_purpose() -> None:
    assert _split_date({"date": "2026-03-02"}) == {"date": "2026-03-02", "purpose": "nightly"}
    assert _split_date({"date": "2026-03-02.15f2b8bf"})["purpose"] == "out-of-band-15f2b8bf"


@pytest.fixture
def old_lake(make_settings) -> tuple[Settings, dict[str, dict[str, int]]]:
    """A lake of schema version 1 with a checkpointed log, and the application transactions of its tables."""
    settings = make_settings()
    storage = Storage(settings.lake)
    storage.open()[0].create_dir(storage.uri(), recursive=True)
    for name, purpose in (("plans", "run_id"), ("quarantine", "stage"), ("served", "collection")):
        columns = ["date", "stage"] if name == "quarantine" else list(TABLES[name].partition_by)
        schema = pa.schema([field for field in TABLES[name].schema if field.name != "purpose"])
        table = DeltaTable.create(
            storage.uri(name), Schema.from_arrow(schema), partition_by=columns,
            configuration={SCHEMA_PROPERTY: "1"}, raise_if_key_not_exists=False,
        )  # fmt: skip
        for number in range(12):
            row = {purpose: "x", "date": f"2026-01-{number + 1:02d}{'.15f2b8bf' if number % 2 else ''}"}
            rows = pa.Table.from_pylist([{key: row[key] for key in row if key in schema.names}], schema=schema)
            marks = [Transaction(f"attempt:{number}", 1), Transaction("scope:x", number)]
            write_deltalake(table, rows, mode="append", commit_properties=CommitProperties(app_transactions=marks))
            if number == 9:
                DeltaTable(storage.uri(name)).create_checkpoint()
        for log in sorted(Path(storage.uri(name), "_delta_log").glob("*.json"))[:9]:
            log.unlink()  # as `moon maintain` cleans up what a checkpoint replaces
    transactions = {"scope:x": 11, **{f"attempt:{number}": 1 for number in range(12)}}
    return settings, dict.fromkeys(("plans", "quarantine", "served"), transactions)


def test_rows_partitions_and_application_transactions_are_kept(old_lake) -> None:
    settings, transactions = old_lake
    done = migrate_lake(settings)
    assert [one.version for one in done if one.table == "plans"] == [*range(2, LAKE_SCHEMA_VERSION + 1)]
    assert {one.table: one.rows for one in done if one.version == 2} == {"plans": 12, "quarantine": 12, "served": 0}
    lake = open_lake(settings)
    purposes = Counter(row["purpose"] for row in lake.read_arrow("plans").to_pylist())
    assert purposes == {"nightly": 6, "out-of-band-15f2b8bf": 6}
    partition = {"date": "2026-01-02", "purpose": "out-of-band-15f2b8bf", "stage": "x"}
    assert lake.count("quarantine", partition) == lake.read_arrow("quarantine", partition).num_rows == 1
    for name, known in transactions.items():
        table = lake.open(name)
        table.create_checkpoint()
        for handle in (table, DeltaTable(lake.storage.uri(name))):
            assert {key: handle.transaction_version(key) for key in known} == known


@pytest.fixture
def lake_of_version_2(make_settings) -> Settings:
    """A lake of schema version 2 with two dates of snapshots."""
    settings = make_settings()
    storage = Storage(settings.lake)
    storage.open()[0].create_dir(storage.uri(), recursive=True)
    schema = pa.schema([field for field in TABLES["snapshots"].schema if field.name != "source_values"])
    table = DeltaTable.create(
        storage.uri("snapshots"), Schema.from_arrow(schema), partition_by=["date"],
        configuration={SCHEMA_PROPERTY: "2"}, raise_if_key_not_exists=False,
    )  # fmt: skip
    for date in ("2026-01-02", "2026-01-03"):
        rows = [{"source_row": number, "product_id": f"p{number}", "date": date} for number in range(3)]
        marks = CommitProperties(app_transactions=[Transaction(f"scope:date={date}", 1)])
        write_deltalake(table, pa.Table.from_pylist(rows, schema=schema), mode="append", commit_properties=marks)
    return settings


def test_snapshots_get_a_column_and_no_row_is_rewritten(lake_of_version_2, spark) -> None:
    settings = lake_of_version_2
    files = DeltaTable(f"{settings.lake}/snapshots").file_uris()
    with pytest.raises(SchemaVersionError, match=rf"version 2, this code writes {LAKE_SCHEMA_VERSION}.*moon migrate"):
        open_lake(settings).open("snapshots")
    steps = [{"table": "snapshots", "version": version, "rows": 0} for version in range(3, LAKE_SCHEMA_VERSION + 1)]
    assert [one.as_dict() for one in migrate_lake(settings)] == steps
    lake = open_lake(settings)
    assert lake.open("snapshots").file_uris() == files
    partition = {"date": "2026-01-02"}
    assert lake.read_partition_version("snapshots", partition) == 1
    sink = FileSink(lake.storage, "snapshots", partition)
    sink.write_rows(
        [{**dict.fromkeys(TABLES["snapshots"].columns.names), "source_row": 9, "source_values": [("a", "b")]}]
    )
    lake.commit("snapshots", sink.close(), attempt="after", partition=partition)
    found = {row.source_row: row.source_values for row in lake.read(spark, "snapshots", partition).collect()}
    assert found == {0: None, 1: None, 2: None, 9: {"a": "b"}}
    assert [row["source_values"] for row in lake.read_arrow("snapshots", {"date": "2026-01-03"}).to_pylist()] == [
        None
    ] * 3


@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_killed_migration_of_version_2_continues(
    lake_of_version_2, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    settings = lake_of_version_2
    calls: list[str] = []

    def die_at(*arguments: Any, then: Any) -> Any:
        calls.append("call")
        if len(calls) == step + 1:
            raise KeyboardInterrupt
        return then(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(migrate, "_set_version", partial(die_at, then=migrate._set_version))
        key = ("snapshots", 2)
        patch.setitem(migrate.MIGRATIONS, key, partial(die_at, then=migrate.MIGRATIONS[key]))
        with pytest.raises(KeyboardInterrupt):
            migrate_lake(settings)
    with pytest.raises(SchemaVersionError, match="moon migrate"):
        open_lake(settings).open("snapshots")
    assert {one.table for one in migrate_lake(settings)} == {"snapshots"}
    assert open_lake(settings).open("snapshots").count() == 6
    assert migrate_lake(settings) == []


def test_two_migrations_at_once(old_lake) -> None:
    settings, transactions = old_lake
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(migrate_lake, settings) for _ in range(2)]
    assert sorted(sum(one.rows for one in run.result()) for run in runs) == [0, 24]
    lake = open_lake(settings)
    assert [lake.open(name).count() for name in transactions] == [12, 12, 12]


def test_a_conflict_with_a_writer_of_the_old_release_is_repeated(old_lake, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, _ = old_lake
    raced: list[str] = []

    def write_after_another(table: DeltaTable, *arguments: Any, **options: Any) -> None:
        if not raced:
            raced.append("once")
            DeltaTable(table.table_uri).alter.set_table_properties({"moon.test": "1"}, raise_if_not_exists=False)
        write_deltalake(table, *arguments, **options)

    monkeypatch.setattr("jobs.operations.migrate.write_deltalake", write_after_another)
    migrate_lake(settings)
    assert raced and open_lake(settings).open("plans").count() == 12


def test_a_row_that_cannot_be_read_leaves_the_table_as_it_was(old_lake, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, _ = old_lake
    monkeypatch.setattr("jobs.operations.migrate._count_rows", lambda table: 13)
    with pytest.raises(Exception, match=r"13 rows by its log, 12 were read. Nothing was changed"):
        migrate_lake(settings)
    assert DeltaTable(f"{settings.lake}/plans").count() == 12
    monkeypatch.undo()
    migrate_lake(settings)


def test_it_waits_for_runs_to_end(old_lake) -> None:
    settings, _ = old_lake
    busy = pytest.raises(LeaseBusyError, match="is writing moon_a: let it end, then run `moon migrate` again")
    with hold_lease(open_lake(settings), "moon_a", settings), busy:
        migrate_lake(settings)
    assert migrate_lake(settings)
