"""maintain: applies retention, compacts and checkpoints the lake's tables, and deletes unreferenced files.

It is safe during a nightly run. Every change is a Delta commit that fails on a conflict. Files are deleted only when
they are older than any running stage could need. A lease keeps two maintain runs from running together.
"""

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pyarrow import fs

from jobs.images.store import PACKS_FOLDER
from jobs.images.upkeep import delete_packs, drop_second_copies, find_surplus, remove_images
from jobs.lake.reading import read_lake_files
from jobs.lake.storage import SCRATCH_FOLDER
from jobs.lake.store import Lake
from jobs.milvus.client import connect
from jobs.operations.retention import (
    ForgottenPartition,
    find_expired_partitions,
    find_first_kept_date,
    find_superseded_answers,
    find_superseded_vectors,
)
from jobs.operations.scratch import drop_expired_scratch, has_scratch
from jobs.settings import Settings
from jobs.spark.progress import announce_work, report_done
from jobs.state.lease import hold_lease
from jobs.state.ledger import compact_history, make_date_mark
from schemas.tables import TABLES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)

SAFE_AGE = timedelta(hours=48)
"""Files that no table refers to are left alone for so long: a running stage may be about to commit them."""

COMPACTED_TABLES = ("served", "regions", "runs")
MAX_PARTITION_FILES = 8
"""A partition of these tables is compacted when it has more files."""

MAINTENANCE_LEASE = "maintenance"
"""Name under which runs of maintain exclude each other in `leases`; no collection is called so."""


@dataclass(frozen=True)
class MaintenanceAction:
    """An action that was taken, or would be taken in a dry run.

    Attributes:
        table: a table of the lake, its folder of temporary files, or "Milvus".
        what: description of the action.
        files, rows: number of files and rows that it concerns.
    """

    table: str
    what: str
    files: int = 0
    rows: int = 0

    def as_dict(self) -> dict[str, object]:
        """Return the fields, for JSON."""
        return asdict(self)


def maintain_lake(
    spark: "SparkSession",
    lake: Lake,
    settings: Settings,
    *,
    dry_run: bool = False,
    safe_age: timedelta = SAFE_AGE,
    max_files: int = MAX_PARTITION_FILES,
) -> list[MaintenanceAction]:
    """Run the maintenance that is due and return the actions taken.

    Args:
        spark, lake: the lake, and the session that rewrites its files.
        settings: retention in days, lease and Milvus connection.
        dry_run: only report what is due.
        safe_age: minimum age of unreferenced files before they are deleted.
        max_files: number of files in a partition above which it is compacted.

    Raises:
        LeaseBusyError: another maintain is running.
        LiteBusyError, MilvusUnreachableError: Milvus may hold scratch collections and does not answer; the lake's own
            maintenance is complete.
    """
    if dry_run:
        return _run_due_actions(spark, lake, settings, safe_age, max_files, dry_run=True)
    with hold_lease(lake, MAINTENANCE_LEASE, settings):
        return _run_due_actions(spark, lake, settings, safe_age, max_files, dry_run=False)


def _run_due_actions(
    spark: "SparkSession", lake: Lake, settings: Settings, safe_age: timedelta, max_files: int, *, dry_run: bool
) -> list[MaintenanceAction]:
    first_kept = find_first_kept_date(lake, settings.retention_days)
    actions = [_forget(lake, part, dry_run) for part in find_expired_partitions(spark, lake, first_kept)]
    actions += [_forget(lake, part, dry_run) for part in find_superseded_vectors(spark, lake, first_kept)]
    actions += [_forget(lake, part, dry_run) for part in find_superseded_answers(spark, lake, first_kept)]
    actions += _shrink_store(spark, lake, settings, safe_age, dry_run)
    announce_work(len(COMPACTED_TABLES) + len(TABLES), "tables")
    for number, table in enumerate(COMPACTED_TABLES, 1):
        report_done(number)
        actions += _compact(spark, lake, table, max_files, first_kept, dry_run)
    for number, table in enumerate(TABLES, len(COMPACTED_TABLES) + 1):
        report_done(number)
        actions += _sweep(lake, table, safe_age, dry_run)
    actions += _sweep_scratch(lake, safe_age, dry_run)
    return [*actions, *_drop_expired_collections(lake, settings, dry_run)]


def _forget(lake: Lake, part: ForgottenPartition, dry_run: bool) -> MaintenanceAction:
    files = [] if dry_run or part.kept is None else lake.write(part.kept, part.table, part.partition)
    before = len(lake.files(part.table, part.partition))
    if not dry_run:
        lake.commit(part.table, files, attempt=None, partition=part.partition, mode="overwrite")
    superseded = "superseded answers of hosts" if part.table == "images" else "superseded vectors"
    what = "date past retention" if part.kept is None else superseded
    return MaintenanceAction(part.table, f"{what}: {'/'.join(part.partition.values())}", before, part.rows)


def _shrink_store(
    spark: "SparkSession", lake: Lake, settings: Settings, safe_age: timedelta, dry_run: bool
) -> list[MaintenanceAction]:
    """Remove surplus photos from the image store, and packs that no row refers to once no task can read them."""
    surplus = find_surplus(spark, lake, int(settings.image_store_gib * (1 << 30)))
    if surplus and not dry_run:
        remove_images(lake, surplus)
    copies = drop_second_copies(lake, dry_run=dry_run)
    named = set(lake.read_arrow("stored_images")["pack"].to_pylist())
    packs = tuple(
        path.base_name for path in _list_old_files(lake, PACKS_FOLDER, safe_age) if path.base_name not in named
    )
    if not dry_run:
        delete_packs(lake, packs)
    actions = [MaintenanceAction("stored_images", "photos that no retained date names", rows=len(surplus))]
    actions += [MaintenanceAction("stored_images", "second copies of photos", rows=copies)]
    actions += [MaintenanceAction(PACKS_FOLDER, "packs that nothing refers to", len(packs))]
    return [action for action in actions if action.files or action.rows]


def _compact(
    spark: "SparkSession", lake: Lake, table: str, max_files: int, first_kept: str, dry_run: bool
) -> list[MaintenanceAction]:
    """Merge the files of partitions that have many; the ledger keeps the history of every retained date."""
    actions = []
    for partition in lake.open(table).partitions():
        paths = lake.list_paths(table, partition)
        if len(paths) <= max_files:
            continue
        rows = lake.count(table, partition)
        if not dry_run:
            files = lake.write(_merge_rows(spark, lake, table, paths, first_kept), table, partition)
            marks = {}
            if table == "served" and first_kept:
                marks = make_date_mark("history", partition["collection"], first_kept)
            lake.commit(table, files, attempt=None, partition=partition, remove=paths, marks=marks)
            rows -= sum(file.rows for file in files)
        what = f"compacted: {'/'.join(partition.values())}"
        actions.append(MaintenanceAction(table, what, len(paths), rows if not dry_run else 0))
    return actions


def _merge_rows(spark: "SparkSession", lake: Lake, table: str, paths: list[str], first_kept: str) -> "DataFrame":
    """Return the rows of some files of a partition; for the ledger, without the history before a date.

    Only these files are read, because only these are removed: a run may append another file at the same time. Rows in a
    new file of the ledger have a higher epoch, so compacting the other files is safe.
    """
    uris = [lake.storage.uri(table, path) for path in paths]
    rows = read_lake_files(spark, lake.storage, uris, TABLES[table].columns, lake.storage.uri(table))
    return compact_history(rows, first_kept) if table == "served" else rows.coalesce(1)


def _sweep(lake: Lake, table: str, safe_age: timedelta, dry_run: bool) -> list[MaintenanceAction]:
    """Delete unreferenced files, write a checkpoint and drop the log entries that it replaces; return the actions."""
    delta = lake.open(table)
    swept = delta.vacuum(
        retention_hours=int(safe_age.total_seconds() // 3600),
        dry_run=dry_run,
        enforce_retention_duration=False,
        full=True,
    )
    if not dry_run:
        delta.update_incremental()
        delta.create_checkpoint()
        delta.cleanup_metadata()
    return [MaintenanceAction(table, "files that nothing refers to", len(swept))] if swept else []


def _drop_expired_collections(lake: Lake, settings: Settings, dry_run: bool) -> list[MaintenanceAction]:
    """Drop expired scratch collections of backfills; return the actions."""
    if not has_scratch(lake):
        return []
    with connect(settings) as client:
        dropped = drop_expired_scratch(client, lake, settings, dry_run=dry_run)
    return [
        MaintenanceAction("Milvus", f"scratch collection expired: {one.collection}", rows=one.rows) for one in dropped
    ]


def _sweep_scratch(lake: Lake, safe_age: timedelta, dry_run: bool) -> list[MaintenanceAction]:
    """Delete temporary files of killed runs; return the actions."""
    old = _list_old_files(lake, SCRATCH_FOLDER, safe_age)
    if not dry_run:
        filesystem, _ = lake.storage.open()
        for info in old:
            filesystem.delete_file(info.path)
    return [MaintenanceAction(SCRATCH_FOLDER, "spilled by runs that were killed", len(old))] if old else []


def _list_old_files(lake: Lake, folder: str, safe_age: timedelta) -> list[fs.FileInfo]:
    """Return the files in a folder of the lake that are older than any running stage could need."""
    filesystem, root = lake.storage.open()
    oldest = datetime.now(UTC) - safe_age
    listed: Iterable[fs.FileInfo] = filesystem.get_file_info(fs.FileSelector(f"{root}/{folder}", allow_not_found=True))
    return [info for info in listed if info.mtime is not None and info.mtime < oldest]
