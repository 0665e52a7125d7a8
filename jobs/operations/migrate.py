"""Moves a lake from the schema version of an earlier release to this one's, table by table.

Every step is a commit that a second call finds done, and a table's version is raised last: killed at any point and run
again, the migration continues (docs/decisions/0012-schema-version-and-migrate.md). No row is lost: the rows of a table
are counted before and after it is rewritten.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.schema import Field, PrimitiveType

from jobs.errors import MoonError
from jobs.lake.reading import READ_BATCH_ROWS, open_dataset
from jobs.lake.storage import Storage
from jobs.lake.store import SCHEMA_PROPERTY, UncheckedLake, read_schema_version
from jobs.milvus.client import connect, read_alias_target, read_collection_properties
from jobs.settings import Settings
from jobs.state.lease import hold_lease
from jobs.state.model_registry import find_model
from jobs.state.model_store import MODELS_FOLDER, store_model
from jobs.state.run_context import NIGHTLY
from schemas.collection import PROPERTY_CHECKPOINT, PROPERTY_MODEL, PROPERTY_MODEL_COPY
from schemas.tables import LAKE_SCHEMA_VERSION, PLANS, QUARANTINE, TABLES

log = logging.getLogger(__name__)

MIGRATION_LEASE = "migration"
"""Name under which two migrations exclude each other in `leases`; no collection has it."""


@dataclass(frozen=True)
class TableMigration:
    """A table that was moved to a schema version, or is to be in a dry run.

    Attributes:
        table: its name.
        version: the schema version it has afterwards.
        rows: rows that were rewritten; 0 where only the version was raised.
    """

    table: str
    version: int
    rows: int

    def as_dict(self) -> dict[str, object]:
        """Return the fields, for JSON."""
        return asdict(self)


class MigrationError(MoonError):
    """The lake cannot be migrated; nothing was lost."""


def migrate_lake(settings: Settings, *, dry_run: bool = False) -> list[TableMigration]:
    """Move every table of the lake to `LAKE_SCHEMA_VERSION`; a lake of that version is left alone.

    Args:
        settings: the lake.
        dry_run: only say which tables are of an earlier version.

    Raises:
        MigrationError: a table is of a later version, or rows would be lost.
        LeaseBusyError: another migration runs.
    """
    lake = _open_lake(settings)
    options = dict(lake.storage.options) or None
    tables = [name for name in TABLES if DeltaTable.is_deltatable(lake.storage.uri(name), options)]
    versions = {name: read_schema_version(lake.open(name)) for name in tables}
    if later := {name: version for name, version in versions.items() if version > LAKE_SCHEMA_VERSION}:
        raise MigrationError(f"tables of a later release: {later}; this code writes {LAKE_SCHEMA_VERSION}. Upgrade it")
    outdated = [name for name, version in versions.items() if version < LAKE_SCHEMA_VERSION]
    if dry_run or not outdated:
        return [TableMigration(name, LAKE_SCHEMA_VERSION, 0) for name in outdated]
    with hold_lease(lake, MIGRATION_LEASE, settings):
        return [one for name in outdated for one in _migrate_table(lake, name)]


def _open_lake(settings: Settings) -> UncheckedLake:
    return UncheckedLake(Storage(settings.lake, settings.storage_options()))


def _migrate_table(lake: UncheckedLake, name: str) -> Iterator[TableMigration]:
    """Move one table through every version between its own and this release's."""
    for version in range(read_schema_version(lake.open(name)), LAKE_SCHEMA_VERSION):
        rewrite = MIGRATIONS.get((name, version))
        rows = rewrite(lake) if rewrite else 0
        _raise_version(lake.open(name), version + 1)
        log.info("%s: schema version %d, %d rows rewritten", name, version + 1, rows)
        yield TableMigration(name, version + 1, rows)


def _raise_version(table: DeltaTable, version: int) -> None:
    table.alter.set_table_properties({SCHEMA_PROPERTY: str(version)}, raise_if_not_exists=False)


def _add_plan_purpose(lake: UncheckedLake) -> int:
    """Version 1 → 2: `plans` gets the column ``purpose``, which was a suffix of the date."""
    table = lake.open(PLANS.name)
    if "purpose" not in {field.name for field in table.schema().fields}:
        table.alter.add_columns([Field("purpose", PrimitiveType("string"), nullable=True)])
    return _rewrite(lake, PLANS.name, ("date",), _split_date)


def _add_quarantine_purpose(lake: UncheckedLake) -> int:
    """Version 1 → 2: `quarantine` is partitioned by ``purpose`` as well, which was a suffix of the date."""
    return _rewrite(lake, QUARANTINE.name, ("date", "stage"), _split_date)


def _split_date(row: dict[str, object]) -> dict[str, object]:
    """Return a row of version 1 with its purpose: ``<date>.<model, 8 digits>`` was an out-of-band plan's date."""
    date, _, model = str(row["date"]).partition(".")
    return {**row, "date": date, "purpose": f"out-of-band-{model}" if model else NIGHTLY}


def _rewrite(
    lake: UncheckedLake,
    name: str,
    partition_by: tuple[str, ...],
    change: Callable[[dict[str, object]], dict[str, object]],
) -> int:
    """Rewrite a table's rows in one commit, with the schema and partitions of this release; return how many.

    The commit keeps the application transactions of all earlier ones (attempts, scopes, ledgers), and carries one of
    its own, so that a second call finds it done.

    Args:
        lake, name: the table.
        partition_by: partition columns that the files have now.
        change: turns a row as it was into a row of this release.
    """
    target, table = TABLES[name], lake.open(name)
    attempt = f"attempt:migrate/{name}/{read_schema_version(table) + 1}"
    if table.transaction_version(attempt):
        return 0
    base = lake.storage.uri(name)
    names = [uri[len(base) + 1 :] for uri in table.file_uris()]
    dataset = open_dataset(lake.storage, names, target.schema, base, partition_by) if names else None
    before = dataset.count_rows() if dataset else 0

    def read() -> Iterator[pa.RecordBatch]:
        for batch in dataset.to_batches(batch_size=READ_BATCH_ROWS) if dataset else ():
            yield pa.RecordBatch.from_pylist([change(row) for row in batch.to_pylist()], schema=target.schema)

    write_deltalake(
        table,
        pa.RecordBatchReader.from_batches(target.schema, read()),
        mode="overwrite",
        schema_mode="overwrite",
        partition_by=list(target.partition_by),
        commit_properties=CommitProperties(max_commit_retries=0, app_transactions=[Transaction(attempt, 1)]),
    )
    after = _count_rows(lake.open(name))
    if after != before:
        raise MigrationError(f"{name} had {before:,} rows and has {after:,} after its migration: restore version "
                             f"{table.version()} of that Delta table and report this")  # fmt: skip
    return before


def _count_rows(table: DeltaTable) -> int:
    return sum(pa.table(table.get_add_actions(flatten=True))["num_records"].to_pylist())


MIGRATIONS: dict[tuple[str, int], Callable[[UncheckedLake], int]] = {
    (PLANS.name, 1): _add_plan_purpose,
    (QUARANTINE.name, 1): _add_quarantine_purpose,
}
"""What changes in a table between a schema version and the next; tables without an entry only get the new number."""


def keep_served_model(settings: Settings) -> str | None:
    """Copy the served model into the lake, if it is not there, and name the copy in the collection's properties.

    Returns:
        None where nothing is served or the copy is complete; else what a person has to do.
    """
    lake = _open_lake(settings)
    with connect(settings) as client:
        collection = read_alias_target(client, settings.alias)
        if collection is None:
            return None
        properties = read_collection_properties(client, collection)
        version = properties.get(PROPERTY_MODEL, "")
        folders = [settings.model or "", properties.get(PROPERTY_CHECKPOINT, "")]
        model = find_model(lake, version, filter(None, folders), settings, collection)
        if model is None:
            return (
                f"the files of the served model {version[:12]} are not in {properties.get(PROPERTY_CHECKPOINT)} any "
                "more: name a folder that holds them (`moon migrate --model DIR`), such as the checkpoints of the "
                "release that ran until now; until then nightly runs stop"
            )
        store_model(lake.storage, version, model.uri, model.detector)
        copy = lake.storage.uri(MODELS_FOLDER, version)
        if properties.get(PROPERTY_MODEL_COPY) != copy:
            client.alter_collection_properties(collection, {PROPERTY_MODEL_COPY: copy})
    return None
