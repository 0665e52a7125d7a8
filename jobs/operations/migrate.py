"""migrate: upgrades the tables of a lake from the schema version of an earlier release to the current one.

Every step is one commit, which a second call skips. A table's version is raised last. A killed migration therefore
continues when it is run again (docs/decisions/0012-schema-version-and-migrate.md). The rows of a table are counted
before and after it is rewritten, so that no row is lost.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.schema import Schema as DeltaSchema

from jobs.errors import EXIT_INPUT, MoonError
from jobs.lake.reading import READ_BATCH_ROWS, open_dataset
from jobs.lake.storage import Storage
from jobs.lake.store import SCHEMA_PROPERTY, UncheckedLake, read_schema_version, retry_conflicts
from jobs.milvus.client import connect, read_alias_target, read_collection_properties
from jobs.serving.alias import read_alias_moves
from jobs.settings import Settings
from jobs.state.lease import LeaseBusyError, describe_holder, find_writer, hold_lease
from jobs.state.model_store import MODELS_FOLDER, find_stored_model, store_model
from jobs.state.run_context import NIGHTLY
from moon_model.model_copy import holds_version
from schemas.collection import PROPERTY_CHECKPOINT, PROPERTY_MODEL, PROPERTY_MODEL_COPY
from schemas.tables import LAKE_SCHEMA_VERSION, LEASES, PLANS, PRODUCTS, QUARANTINE, SERVED, SNAPSHOTS, TABLES

if TYPE_CHECKING:
    from pymilvus import MilvusClient

log = logging.getLogger(__name__)

MIGRATION_LEASE = "migration"
"""Name under which two migrations exclude each other in `leases`; no collection has it."""


@dataclass(frozen=True)
class TableMigration:
    """A table that was moved to a schema version, or would be moved in a dry run.

    Attributes:
        table: its name.
        version: the schema version it has afterwards.
        rows: number of rows that were rewritten; 0 if only the version was raised.
    """

    table: str
    version: int
    rows: int

    def as_dict(self) -> dict[str, object]:
        """Return the fields, for JSON."""
        return asdict(self)


class MigrationError(MoonError):
    """The lake cannot be migrated, or rows are missing after a step; the message says what to do."""

    exit_status = EXIT_INPUT


def migrate_lake(settings: Settings, *, dry_run: bool = False) -> list[TableMigration]:
    """Move every table of the lake to `LAKE_SCHEMA_VERSION`; return the tables that were moved.

    Args:
        settings: settings that name the lake.
        dry_run: only report which tables have an earlier version.

    Raises:
        MigrationError: a table is of a later version, or rows would be lost.
        LeaseBusyError: a run is still writing, or another migration is running.
    """
    lake = _open_lake(settings)
    options = dict(lake.storage.options) or None
    tables = [name for name in TABLES if DeltaTable.is_deltatable(lake.storage.uri(name), options)]
    versions = {name: read_schema_version(lake.open(name)) for name in tables}
    if later := {name: version for name, version in versions.items() if version > LAKE_SCHEMA_VERSION}:
        raise MigrationError(f"tables of a later release: {later}; this code writes {LAKE_SCHEMA_VERSION}. Upgrade it")
    outdated = [name for name, version in versions.items() if version < LAKE_SCHEMA_VERSION]
    outdated.sort(key=lambda name: name != LEASES.name)  # leases first: then the earlier release starts no run
    if dry_run or not outdated:
        return [TableMigration(name, LAKE_SCHEMA_VERSION, 0) for name in outdated]
    _check_no_writer(lake, settings)
    with hold_lease(lake, MIGRATION_LEASE, settings):
        return [one for name in outdated for one in _migrate_table(lake, name)]


def _check_no_writer(lake: UncheckedLake, settings: Settings) -> None:
    """Check that no run holds the lease of a collection; the migration would stop it half-way.

    Raises:
        LeaseBusyError: a run holds a lease.
    """
    for partition in lake.list_partitions(LEASES.name):
        collection = partition["collection"]
        state = find_writer(lake, collection, settings) if collection != MIGRATION_LEASE else None
        if state is not None:
            raise LeaseBusyError(
                f"{describe_holder(state.holder)} is writing {collection}: let it end, then run `moon migrate` again "
                f"(its lease ends at {state.expires_at:%H:%M:%S} UTC unless renewed). Nothing was changed"
            )


def _open_lake(settings: Settings) -> UncheckedLake:
    return UncheckedLake(Storage(settings.lake, settings.storage_options()))


def _migrate_table(lake: UncheckedLake, name: str) -> Iterator[TableMigration]:
    """Move one table through every version between its own and the current one; yield each step."""
    for version in range(read_schema_version(lake.open(name)), LAKE_SCHEMA_VERSION):
        rows = 0
        if rewrite := MIGRATIONS.get((name, version)):
            _set_version(lake, name, f"{version}-{version + 1}")  # killed here: neither release opens the table
            rows = rewrite(lake)
        _set_version(lake, name, str(version + 1))
        log.info("%s: schema version %d, %d rows rewritten", name, version + 1, rows)
        yield TableMigration(name, version + 1, rows)


@retry_conflicts
def _set_version(lake: UncheckedLake, name: str, version: str) -> None:
    lake.open(name).alter.set_table_properties(
        {SCHEMA_PROPERTY: version},
        raise_if_not_exists=False,
        commit_properties=CommitProperties(max_commit_retries=0),
    )


def _split_date(row: dict[str, object]) -> dict[str, object]:
    """Return a version 1 row with its purpose, which an out-of-band plan had in its date: ``<date>.<model[:8]>``."""
    date, _, model = str(row["date"]).partition(".")
    return {**row, "date": date, "purpose": f"out-of-band-{model}" if model else NIGHTLY}


@retry_conflicts
def _rewrite(lake: UncheckedLake, name: str, change: Callable[[dict[str, object]], dict[str, object]]) -> int:
    """Rewrite a table in one commit with the schema and partitions of this release; return the number of rows.

    The commit keeps the application transactions of all earlier commits (attempts, scopes, ledgers). It adds its own,
    by which a second call finds it done. It succeeds only on the table version that the rows were read from.

    Args:
        lake, name: the lake and the name of the table.
        change: converts a row of the old schema into a row of this release.

    Raises:
        MigrationError: fewer rows were read than the table has; the table is unchanged.
    """
    target, table = TABLES[name], lake.open(name)
    attempt = f"attempt:migrate/{name}/{read_schema_version(table) + 1}"
    if table.transaction_version(attempt):
        return 0
    base, found = lake.storage.uri(name), pa.schema(table.schema().to_arrow())
    names = [uri[len(base) + 1 :] for uri in lake.storage.decode(table.file_uris())]
    dataset = open_dataset(lake.storage, names, found, base, table.metadata().partition_columns)
    before = _count_rows(table)

    def read() -> Iterator[pa.RecordBatch]:
        rows = 0
        for batch in dataset.to_batches(batch_size=READ_BATCH_ROWS):
            changed = pa.RecordBatch.from_pylist([change(row) for row in batch.to_pylist()], schema=target.schema)
            rows += changed.num_rows
            yield changed
        if rows != before:  # an exception here prevents the commit
            raise MigrationError(f"{base} has {before:,} rows by its log, {rows:,} were read. Nothing was changed")

    write_deltalake(
        table,
        pa.RecordBatchReader.from_batches(target.schema, read()),
        mode="overwrite",
        schema_mode="overwrite",
        partition_by=list(target.partition_by),
        commit_properties=CommitProperties(max_commit_retries=0, app_transactions=[Transaction(attempt, 1)]),
    )
    after = _count_rows(table)  # the handle is at the version that was committed
    if after != before:
        raise MigrationError(
            f"{base} had {before:,} rows and has {after:,} after its migration. Start no run: restore version "
            f"{table.version() - 1} of that Delta table, or the copy made before, and report this"
        )
    return before


@retry_conflicts
def _add_columns(lake: UncheckedLake, name: str) -> int:
    """Add the columns that a table lacks, with null values; return 0, because no row is rewritten."""
    table = lake.open(name)
    known = {field.name for field in table.schema().fields}
    wanted = DeltaSchema.from_arrow(TABLES[name].schema).fields
    if lacking := [field for field in wanted if field.name not in known]:
        table.alter.add_columns(lacking, commit_properties=CommitProperties(max_commit_retries=0))
    return 0


def _count_rows(table: DeltaTable) -> int:
    return sum(pa.table(table.get_add_actions(flatten=True))["num_records"].to_pylist())


MIGRATIONS: dict[tuple[str, int], Callable[[UncheckedLake], int]] = {
    # `plans` gets the column ``purpose``; `quarantine` is partitioned by it as well. It was a suffix of the date.
    (PLANS.name, 1): partial(_rewrite, name=PLANS.name, change=_split_date),
    (QUARANTINE.name, 1): partial(_rewrite, name=QUARANTINE.name, change=_split_date),
    # `snapshots` gets the column ``source_values``, `products` and `served` get ``group_id``; their rows have none.
    (SNAPSHOTS.name, 2): partial(_add_columns, name=SNAPSHOTS.name),
    (PRODUCTS.name, 3): partial(_add_columns, name=PRODUCTS.name),
    (SERVED.name, 3): partial(_add_columns, name=SERVED.name),
    # `snapshots` gets ``payload`` and ``payload_errors``, `products` and `served` get ``payload_hash``; rows have none.
    (SNAPSHOTS.name, 4): partial(_add_columns, name=SNAPSHOTS.name),
    (PRODUCTS.name, 4): partial(_add_columns, name=PRODUCTS.name),
    (SERVED.name, 4): partial(_add_columns, name=SERVED.name),
}
"""What changes in a table between a schema version and the next; tables without an entry only get the new number."""


def keep_served_model(settings: Settings) -> str | None:
    """Copy the served model and possible rollback targets into the lake; return what an operator has to do, if any.

    The collections then name the copies. Models that the lake has already are not copied again.

    Args:
        settings: lake and Milvus; a checkpoint and a detector named in them are tried first.

    Returns:
        None if nothing is served or every copy is complete; else an instruction for the operator.
    """
    lake = _open_lake(settings)
    if settings.is_lite and not Path(settings.milvus).exists():
        return None
    with connect(settings) as client:
        served = read_alias_target(client, settings.alias)
        past = {name for move in read_alias_moves(lake, settings.alias) for name in (move.before, move.after)}
        known = [name for name in sorted(past - {served, ""}) if client.has_collection(name)]
        collections = [*([served] if served else []), *known]
        warnings = [_keep_model(client, lake, settings, name, served) for name in collections]
    return "\n".join(filter(None, warnings)) or None


def _keep_model(
    client: "MilvusClient", lake: UncheckedLake, settings: Settings, collection: str, served: str | None
) -> str:
    """Copy the model of one collection into the lake; return what an operator has to do if its files are missing."""
    properties = read_collection_properties(client, collection)
    version, registered = properties.get(PROPERTY_MODEL, ""), properties.get(PROPERTY_CHECKPOINT, "")
    if not version:
        return ""
    places = [place for folder in (settings.model, registered) if folder for place in _list_places(folder, settings)]
    stored = find_stored_model(lake.storage, version)
    place = next((place for place in [*([stored] if stored else []), *places] if holds_version(*place, version)), None)
    if place is None:
        effect = "until then nightly runs stop" if collection == served else "until then `moon rollback` cannot use it"
        return (
            f"the files of model {version[:12]} (collection {collection}) are not in {registered} any more: name "
            "folders that hold them (`moon migrate --model DIR --detector DIR`), such as the checkpoints of the "
            f"release that ran until now; {effect}"
        )
    store_model(lake.storage, version, *place)
    copy = lake.storage.uri(MODELS_FOLDER, version)
    if properties.get(PROPERTY_MODEL_COPY) != copy:
        client.alter_collection_properties(collection, {PROPERTY_MODEL_COPY: copy})
    return ""


def _list_places(folder: str, settings: Settings) -> list[tuple[str, str | None]]:
    """Return pairs of checkpoint folder and possible detector: the configured one, or one in the next folder."""
    return [(folder, settings.detector), (folder, str(Path(folder).parent / "detector"))]
