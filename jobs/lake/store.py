"""Reads the lake's tables with Spark and commits changes to them; `Lake.commit` is the only way to make one visible.

deltalake (delta-rs) writes the Delta log; the data files are written by Spark tasks (`jobs.lake.writing`). Delta alone
does not stop two stale writers (docs/decisions/0001-exactly-once-commits.md): overwrites of a still empty partition and
replayed appends both land. Every commit here therefore carries two application transactions:

* the *scope* (table and partition) counts that partition's commits, so that two concurrent ones conflict;
* the *attempt* (stage and run) marks the work itself, so that a repeated or concurrent duplicate run finds it done
and stops.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.schema import Schema as DeltaSchema
from deltalake.transaction import AddAction, RemoveAction
from pyarrow import fs
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random_exponential

from jobs import fault_points
from jobs.errors import DamageError, FenceError, OutdatedLakeError, SchemaVersionError, UsageError
from jobs.lake.checking import LOG_FOLDER, find_log_damage, find_table_damage
from jobs.lake.reading import list_live_files, open_dataset, read_lake_files
from jobs.lake.storage import FORBIDDEN_IN_PATH, Storage
from jobs.lake.writing import FILE_DESCRIPTION_SCHEMA, AddedFile, BatchTransform, write_batches
from jobs.settings import Settings
from schemas.tables import LAKE_SCHEMA_VERSION, TABLES, Table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)

SCHEMA_PROPERTY = "moon.schema_version"
"""Delta table property that holds the schema version: ``2``, or ``1-2`` between two commits of a migration."""

CommitMode = Literal["append", "overwrite"]


def is_commit_conflict(error: BaseException) -> bool:
    """Return whether a commit failed because of a concurrent commit; then open the table again and repeat it.

    CommitFailedError is deltalake's type for that (1.6.6, with its own retries switched off). Its other causes, table
    features that deltalake cannot write, do not occur in this project's tables.
    """
    return isinstance(error, CommitFailedError)


retry_conflicts = retry(
    retry=retry_if_exception(is_commit_conflict),
    wait=wait_random_exponential(multiplier=0.1, max=3),
    stop=stop_after_attempt(20),
    reraise=True,
)
"""Decorator of a function that opens a table and commits to it: repeated until no other commit comes first."""


class Lake:
    """All tables under one root.

    Args:
        storage: the root and its options.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def open(self, name: str) -> DeltaTable:
        """Return a fresh handle of a table, created empty if it is not there yet; for the errors see `find`."""
        if (found := self.find(name)) is not None:
            return found
        with fault_points.surround(f"create.{name}"):
            delta = self._create(TABLES[name], self.storage.uri(name))
        self._check_schema_version(delta, self.storage.uri(name))
        return delta

    def find(self, name: str) -> DeltaTable | None:
        """Return a fresh handle of a table; None where it is not there: reading creates nothing.

        Raises:
            SchemaVersionError: the table carries another `LAKE_SCHEMA_VERSION` than this code.
            DamageError: its log is damaged.
        """
        uri = self.storage.uri(name)
        try:
            delta = DeltaTable(uri, storage_options=dict(self.storage.options) or None)
            self._check_last_commit(name, delta)
        except TableNotFoundError:
            return None
        except DeltaError as error:
            if found := find_log_damage(self.storage, name):
                raise DamageError(str(found[0])) from error
            raise
        self._check_schema_version(delta, uri)
        return delta

    def _check_schema_version(self, delta: DeltaTable, uri: str) -> None:
        found = delta.metadata().configuration.get(SCHEMA_PROPERTY, "0")
        if found == str(LAKE_SCHEMA_VERSION):
            return
        versions = f"{uri} has schema version {found}, this code writes {LAKE_SCHEMA_VERSION}"
        if read_schema_version(delta) >= LAKE_SCHEMA_VERSION:  # `2-3` is a migration to a later version
            raise SchemaVersionError(f"{versions}: a later release wrote it: use that release")
        raise OutdatedLakeError(
            f"{versions}: an earlier release wrote it. When its runs have ended, run `moon migrate --lake "
            f"{self.storage.root}` once; it takes seconds, and nothing is encoded"
        )

    def _check_last_commit(self, name: str, delta: DeltaTable) -> None:
        """Check that the last commit is not empty, as a crash of the machine can leave it: deltalake skips such a file.

        Raises:
            DamageError: it is empty.
        """
        if not self.storage.is_local:
            return  # an object store has whole objects only
        path = Path(self.storage.uri(name), LOG_FOLDER, f"{delta.version():020}.json")
        if path.exists() and not path.stat().st_size:
            raise DamageError(str(find_log_damage(self.storage, name)[0]))

    def _create(self, table: Table, uri: str) -> DeltaTable:
        if self.storage.is_local:
            self.storage.open()[0].create_dir(uri, recursive=True)
        options = dict(self.storage.options) or None
        try:
            return DeltaTable.create(
                uri,
                schema=DeltaSchema.from_arrow(table.schema),
                mode="ignore",
                partition_by=list(table.partition_by),
                configuration={SCHEMA_PROPERTY: str(LAKE_SCHEMA_VERSION)},
                raise_if_key_not_exists=False,
                storage_options=options,
            )
        except CommitFailedError:  # a concurrent process has just created it
            return DeltaTable(uri, storage_options=options)

    def exists(self, name: str) -> bool:
        """Return whether a table is there; unlike deltalake's own check it lets other threads run."""
        filesystem, root = self.storage.open()
        found = filesystem.get_file_info(fs.FileSelector(f"{root}/{name}/{LOG_FOLDER}", allow_not_found=True))
        return any(info.is_file for info in found)

    def files(self, name: str, partition: Mapping[str, str] | None = None) -> list[str]:
        """Return the URIs of a table's live files, of one partition if values are given."""
        delta, wanted = self.find(name), _build_conjunction(partition)
        return self.storage.decode(delta.file_uris(file_pruning_predicate=wanted)) if delta else []

    def list_paths(self, name: str, partition: Mapping[str, str] | None = None) -> list[str]:
        """Return `files` as paths relative to the table's folder, as `commit` takes them for removal."""
        prefix = len(self.storage.uri(name)) + 1
        return [uri[prefix:] for uri in self.files(name, partition)]

    def read(self, spark: "SparkSession", name: str, partition: Mapping[str, str] | None = None) -> "DataFrame":
        """Return the committed rows of a table with all its columns, of one partition if values are given."""
        table, uris = TABLES[name], self.files(name, partition)
        return read_lake_files(spark, self.storage, uris, table.schema, self.storage.uri(name), table.partition_by)

    def read_arrow(
        self,
        name: str,
        partition: Mapping[str, str] | None = None,
        *,
        columns: Sequence[str] | None = None,
        where: ds.Expression | None = None,
    ) -> pa.Table:
        """Return committed rows without Spark: all of a small table (runs, models), or few (``where``) of a large one.

        Raises:
            DamageError: a file of the table is damaged.
        """
        table, paths = TABLES[name], self.list_paths(name, partition)
        rows = open_dataset(self.storage, paths, table.schema, self.storage.uri(name), table.partition_by)
        try:
            return rows.to_table(columns=columns and list(columns), filter=where)
        except (OSError, pa.ArrowException) as error:
            if found := find_table_damage(self.storage, name):
                raise DamageError(str(found[0])) from error
            raise

    def write(
        self, rows: "DataFrame", name: str, partition: Mapping[str, str], transform: BatchTransform | None = None
    ) -> list[AddedFile]:
        """Write the rows of a DataFrame as files of one partition and return the files; nothing is visible yet.

        Args:
            rows: the table's columns, or the input columns of the transform.
            name: the table.
            partition: a value for every partition column.
            transform: converts a task's batches into batches with the table's columns, in the same task.
        """
        task = partial(write_batches, storage=self.storage, table=name, partition=dict(partition), transform=transform)
        selected = rows if transform else rows.select(*TABLES[name].columns.names)
        described = selected.mapInArrow(task, FILE_DESCRIPTION_SCHEMA).collect()
        return [AddedFile.from_json(row.file) for row in described]

    def read_written(self, spark: "SparkSession", name: str, files: Sequence[AddedFile]) -> "DataFrame":
        """Return the rows of files from `write` that are not committed, without the partition columns."""
        uris = [self.storage.uri(name, file.path) for file in files]
        return read_lake_files(spark, self.storage, uris, TABLES[name].columns, self.storage.uri(name))

    def discard(self, name: str, files: Sequence[AddedFile]) -> None:
        """Delete files that were written and will not be committed."""
        filesystem, root = self.storage.open()
        for file in files:
            with fault_points.surround(f"discard.{name}"):
                filesystem.delete_file(f"{root}/{name}/{file.path}")

    def count(self, name: str, partition: Mapping[str, str]) -> int:
        """Return the committed rows of a partition, by the statistics of its files."""
        delta = self.find(name)
        return sum(
            row["num_records"]
            for row in (pa.table(delta.get_add_actions(flatten=True)).to_pylist() if delta else ())
            if all(row[f"partition.{key}"] == value for key, value in partition.items())
        )

    def read_transaction_version(self, name: str, app_id: str) -> int:
        """Return the version of an application transaction in a table (0: never committed)."""
        return (delta.transaction_version(app_id) or 0) if (delta := self.find(name)) else 0

    def read_partition_version(self, name: str, partition: Mapping[str, str]) -> int:
        """Return the number of commits to a partition of a table (0: none)."""
        return self.read_transaction_version(name, make_scope(name, partition))

    def is_committed(self, name: str, attempt: str) -> bool:
        """Return whether this attempt (stage and run) is committed already."""
        return self.read_transaction_version(name, f"attempt:{attempt}") > 0

    def list_partitions(self, name: str) -> list[dict[str, str]]:
        """Return the partitions of a table that have files."""
        return delta.partitions() if (delta := self.find(name)) else []

    @retry_conflicts
    def commit(
        self,
        name: str,
        files: Sequence[AddedFile],
        *,
        attempt: str | None,
        partition: Mapping[str, str],
        mode: CommitMode = "append",
        remove: Sequence[str] = (),
        counter: tuple[str, int] | None = None,
        marks: Mapping[str, int] | None = None,
    ) -> bool:
        """Make files of one partition visible in one Delta transaction, exactly once.

        Args:
            name: the table.
            files: files described by the tasks; nothing else is committed.
            attempt: name of the work (stage and run): if it is committed already, nothing happens. None if only the
                counter fences the commit: names of lease renewals would fill the log.
            partition: the partition all files belong to; the scope that serialises writers.
            mode: overwrite removes the partition's earlier files in the same transaction.
            remove: paths (relative to the table) to remove in the same transaction; for compaction.
            counter: an application transaction that must have this version before the commit and has the next one
                after it; fences leases and ledgers.
            marks: further numbers to set in the same transaction (read by `transaction_version`), such as a
                collection's high-water date.

        Returns:
            Whether this call committed; False if the attempt was committed before.

        Raises:
            FenceError: the counter has another version: another writer was first.
            CommitFailedError: twenty conflicts in a row.
        """
        delta = self.open(name)
        if attempt and (delta.transaction_version(f"attempt:{attempt}") or 0) > 0:
            log.info("%s: %s is committed already", name, attempt)
            return False
        if counter and (delta.transaction_version(counter[0]) or 0) != counter[1]:
            raise FenceError(f"{name}: {counter[0]} has moved on from {counter[1]}")
        scope = make_scope(name, partition)
        transactions = [
            Transaction(scope, (delta.transaction_version(scope) or 0) + 1),
            *([Transaction(f"attempt:{attempt}", 1)] if attempt else []),
            *([Transaction(counter[0], counter[1] + 1)] if counter else []),
            *(Transaction(name, value) for name, value in (marks or {}).items()),
        ]
        live = list_live_files(delta, partition)
        gone = list(live.values()) if mode == "overwrite" else [live[path] for path in remove]
        with fault_points.surround(f"commit.{name}"):
            self._transact(delta, TABLES[name], files, gone, transactions)
        return True

    def _transact(
        self,
        delta: DeltaTable,
        table: Table,
        files: Sequence[AddedFile],
        gone: Sequence[RemoveAction],
        transactions: list[Transaction],
    ) -> None:
        now = int(time.time() * 1000)
        adds = [
            AddAction(file.path, file.size, dict(file.partition), now, True, file.build_statistics()) for file in files
        ]
        delta.create_write_transaction(
            [*adds, *gone],
            mode="append",
            schema=DeltaSchema.from_arrow(table.schema),
            partition_by=list(table.partition_by),
            commit_properties=CommitProperties(max_commit_retries=0, app_transactions=transactions),
            post_commithook_properties=PostCommitHookProperties(create_checkpoint=True),
        )


class UncheckedLake(Lake):
    """A lake whose tables may have the schema of an earlier release; only for `jobs.operations.migrate`."""

    def _check_schema_version(self, delta: DeltaTable, uri: str) -> None:
        """Accept any version."""


def read_schema_version(delta: DeltaTable) -> int:
    """Return the schema version that a table carries; 1 while `moon migrate` moves it from 1 to 2 (``1-2``)."""
    return int(delta.metadata().configuration.get(SCHEMA_PROPERTY, "0").partition("-")[0])


def open_lake(settings: Settings) -> Lake:
    """Return the lake that the settings name.

    Raises:
        UsageError: its folder has a name that Delta tables cannot have.
    """
    if (found := FORBIDDEN_IN_PATH.search(settings.lake)) and "://" not in settings.lake:
        raise UsageError(
            f"the lake's folder {settings.lake} has {found[0]!r} in its name, which Delta tables cannot have: name "
            "another folder with --lake or MOON_LAKE"
        )
    return Lake(Storage(settings.lake, settings.storage_options()))


def make_scope(name: str, partition: Mapping[str, str]) -> str:
    """Return the application transaction that counts the commits of a partition."""
    return "scope:" + "/".join(f"{key}={partition[key]}" for key in TABLES[name].partition_by)


def _build_conjunction(partition: Mapping[str, str] | None) -> list[tuple[str, str, str]] | None:
    return [(name, "=", value) for name, value in partition.items()] if partition else None
