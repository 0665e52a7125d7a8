"""maintain: small files merged, forgotten files swept, nothing lost, and a dry run that only looks."""

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from jobs.lake.storage import SCRATCH
from jobs.operations.maintain import LEASE, Action, maintain
from jobs.state.lease import Lease, LeaseBusyError
from jobs.state.ledger import ledger_state
from jobs.state.run_context import Night
from tests.jobs.serving_shop import write

LEDGER = {"collection": "moon_a"}


def aged(path: Path, hours: float) -> None:
    then = time.time() - 3600 * hours
    os.utime(path, (then, then))


def orphan(night: Night, table: str, partition: dict[str, str], hours: float) -> Path:
    """Write a file that nobody commits."""
    from jobs.lake.writing import FileSink

    sink = FileSink(night.lake.storage, table, partition)
    sink.write_rows([{"run_id": "killed"}])
    path = Path(night.lake.storage.uri(table, sink.close()[0].path))
    aged(path, hours)
    return path


@pytest.fixture
def night(make_night) -> Night:
    """A lake with a ledger of five commits, a day with three records, and leftovers old and young."""
    night = make_night()
    for epoch in range(1, 6):
        rows = [
            {"product_id": f"p{number}", "op": "upsert", "content_hash": f"h{epoch}", "epoch": epoch, "partial": False}
            for number in range(epoch, 7)
        ]
        rows += [{"product_id": "p1", "op": "delete", "epoch": epoch, "partial": False}] * (epoch == 4)
        counter = {"counter": ("ledger:moon_a", epoch - 1)}
        from jobs.lake.writing import FileSink

        sink = FileSink(night.lake.storage, "served", LEDGER)
        sink.write_rows(rows)
        night.lake.commit("served", sink.close(), attempt=f"upsert {epoch}", partition=LEDGER, **counter)
    for number in range(3):
        write(night.lake, "runs", [{"run_id": f"r{number}"}], night.partition, f"run {number}", "append")
    return night


def state(night: Night) -> set[tuple]:
    return {tuple(row) for row in ledger_state(night.spark, night.lake, "moon_a").collect()}


def test_small_files_are_merged_and_nothing_is_lost(night: Night) -> None:
    before, version = state(night), night.lake.transaction_version("served", "ledger:moon_a")
    assert maintain(night.spark, night.lake, night.settings) == [], "not many files yet"
    due = [Action("served", "compacted: moon_a", 5, 0), Action("runs", f"compacted: {night.date}", 3, 0)]
    assert maintain(night.spark, night.lake, night.settings, dry_run=True, max_files=2) == due
    done = maintain(night.spark, night.lake, night.settings, max_files=2)
    assert done == [Action("served", "compacted: moon_a", 5, 16), due[1]]
    assert state(night) == before and len(before) == 5
    assert night.lake.count("served", LEDGER) == 5, "only what is served"
    assert night.lake.transaction_version("served", "ledger:moon_a") == version, "no plan becomes stale"
    assert night.lake.done("served", "upsert 3"), "a checkpoint keeps what was done"
    assert {row["run_id"] for row in night.lake.read_arrow("runs").to_pylist()} == {"r0", "r1", "r2"}
    assert maintain(night.spark, night.lake, night.settings, max_files=2) == []


def test_only_old_leftovers_are_swept(night: Night) -> None:
    old, young = (orphan(night, "runs", night.partition, hours) for hours in (49, 47))
    scratch = Path(night.lake.storage.uri(SCRATCH))
    scratch.mkdir()
    for name, hours in (("old.parquet", 49), ("young.parquet", 1)):
        (scratch / name).touch()
        aged(scratch / name, hours)
    live = {Path(uri) for uri in night.lake.files("runs")}
    for path in live:
        aged(path, 1000)
    due = [
        Action("runs", "files that nothing refers to", 1),
        Action(SCRATCH, "spilled by runs that were killed", 1),
    ]
    assert maintain(night.spark, night.lake, night.settings, dry_run=True) == due
    assert old.exists() and (scratch / "old.parquet").exists()
    assert maintain(night.spark, night.lake, night.settings) == due
    assert not old.exists() and young.exists() and all(path.exists() for path in live)
    assert [path.name for path in scratch.iterdir()] == ["young.parquet"]


def test_files_that_compaction_replaced_go_when_they_are_old(night: Night) -> None:
    replaced = [Path(uri) for uri in night.lake.files("served", LEDGER)]
    maintain(night.spark, night.lake, night.settings, max_files=2)
    assert all(path.exists() for path in replaced), "a reader may still be at them"
    maintain(night.spark, night.lake, night.settings, safe_age=timedelta(0))
    assert not any(path.exists() for path in replaced)
    assert len(state(night)) == 5


def test_two_at_once_exclude_each_other(night: Night) -> None:
    other = Lease(night.lake, LEASE, 60)
    other.take(0)
    with pytest.raises(LeaseBusyError):
        maintain(night.spark, night.lake, night.settings.replace(wait_seconds=0))
    other.release()
    maintain(night.spark, night.lake, night.settings)
