"""Tests of ``maintain``: small files are merged, old files deleted, no row is lost, and a dry run changes nothing."""

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from jobs.lake.storage import SCRATCH_FOLDER
from jobs.operations.maintain import MAINTENANCE_LEASE, MaintenanceAction, maintain_lake
from jobs.state.lease import Lease, LeaseBusyError
from jobs.state.ledger import read_ledger
from jobs.state.run_context import RunContext
from tests.jobs.serving_shop import commit_rows

LEDGER = {"collection": "moon_a"}


def aged(path: Path, hours: float) -> None:
    then = time.time() - 3600 * hours
    os.utime(path, (then, then))


def orphan(context: RunContext, table: str, partition: dict[str, str], hours: float) -> Path:
    """Write a file that is in no commit."""
    from jobs.lake.writing import FileSink

    sink = FileSink(context.lake.storage, table, partition)
    sink.write_rows([{"run_id": "killed"}])
    path = Path(context.lake.storage.uri(table, sink.close()[0].path))
    aged(path, hours)
    return path


@pytest.fixture
def context(make_night) -> RunContext:
    """A lake with a ledger of five commits, a date with three records, and old and new files of killed runs."""
    context = make_night()
    for epoch in range(1, 6):
        rows = [
            {"product_id": f"p{number}", "op": "upsert", "content_hash": f"h{epoch}", "epoch": epoch, "partial": False}
            for number in range(epoch, 7)
        ]
        rows += [{"product_id": "p1", "op": "delete", "epoch": epoch, "partial": False}] * (epoch == 4)
        counter = {"counter": ("ledger:moon_a", epoch - 1)}
        from jobs.lake.writing import FileSink

        sink = FileSink(context.lake.storage, "served", LEDGER)
        sink.write_rows(rows)
        context.lake.commit("served", sink.close(), attempt=f"upsert {epoch}", partition=LEDGER, **counter)
    for number in range(3):
        commit_rows(context.lake, "runs", [{"run_id": f"r{number}"}], context.partition, f"run {number}", "append")
    return context


def state(context: RunContext) -> set[tuple]:
    return {tuple(row) for row in read_ledger(context.spark, context.lake, "moon_a").collect()}


def test_small_files_are_merged_and_nothing_is_lost(context: RunContext) -> None:
    before, version = state(context), context.lake.read_transaction_version("served", "ledger:moon_a")
    assert maintain_lake(context.spark, context.lake, context.settings) == [], "not many files yet"
    due = [
        MaintenanceAction("served", "compacted: moon_a", 5, 0),
        MaintenanceAction("runs", f"compacted: {context.date}", 3, 0),
    ]
    assert maintain_lake(context.spark, context.lake, context.settings, dry_run=True, max_files=2) == due
    done = maintain_lake(context.spark, context.lake, context.settings, max_files=2)
    assert done == [MaintenanceAction("served", "compacted: moon_a", 5, 16), due[1]]
    assert state(context) == before and len(before) == 5
    assert context.lake.count("served", LEDGER) == 5, "only what is served"
    assert context.lake.read_transaction_version("served", "ledger:moon_a") == version, "no plan becomes stale"
    assert context.lake.is_committed("served", "upsert 3"), "a checkpoint keeps what was done"
    assert {row["run_id"] for row in context.lake.read_arrow("runs").to_pylist()} == {"r0", "r1", "r2"}
    assert maintain_lake(context.spark, context.lake, context.settings, max_files=2) == []


def test_only_old_leftovers_are_swept(context: RunContext) -> None:
    old, young = (orphan(context, "runs", context.partition, hours) for hours in (49, 47))
    scratch = Path(context.lake.storage.uri(SCRATCH_FOLDER))
    scratch.mkdir()
    for name, hours in (("old.parquet", 49), ("young.parquet", 1)):
        (scratch / name).touch()
        aged(scratch / name, hours)
    live = {Path(uri) for uri in context.lake.files("runs")}
    for path in live:
        aged(path, 1000)
    due = [
        MaintenanceAction("runs", "files that nothing refers to", 1),
        MaintenanceAction(SCRATCH_FOLDER, "spilled by runs that were killed", 1),
    ]
    assert maintain_lake(context.spark, context.lake, context.settings, dry_run=True) == due
    assert old.exists() and (scratch / "old.parquet").exists()
    assert maintain_lake(context.spark, context.lake, context.settings) == due
    assert not old.exists() and young.exists() and all(path.exists() for path in live)
    assert [path.name for path in scratch.iterdir()] == ["young.parquet"]


def test_files_that_compaction_replaced_go_when_they_are_old(context: RunContext) -> None:
    replaced = [Path(uri) for uri in context.lake.files("served", LEDGER)]
    maintain_lake(context.spark, context.lake, context.settings, max_files=2)
    assert all(path.exists() for path in replaced), "a reader may still be at them"
    maintain_lake(context.spark, context.lake, context.settings, safe_age=timedelta(0))
    assert not any(path.exists() for path in replaced)
    assert len(state(context)) == 5


def test_two_at_once_exclude_each_other(context: RunContext) -> None:
    other = Lease(context.lake, MAINTENANCE_LEASE, 60)
    other.take(0)
    with pytest.raises(LeaseBusyError):
        maintain_lake(context.spark, context.lake, context.settings.replace(wait_seconds=0))
    other.release()
    maintain_lake(context.spark, context.lake, context.settings)
