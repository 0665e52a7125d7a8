"""Tests of the check that a ledger is not behind the last successful run."""

from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree, rmtree

import pytest

from jobs.errors import DamageError
from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.state.ledger_check import check_ledger, find_last_write, find_ledger_problem
from jobs.state.run_log import make_run_row, record_runs

NAME = "moon_c"


@pytest.fixture
def lake(tmp_path: Path, seed: Callable[..., None]) -> Iterator[Lake]:
    """Two runs that served one product each, and a copy of the ledger between them."""
    found = Lake(Storage(str(tmp_path / "lake")))
    for number in (1, 2):
        if number == 2:
            copytree(found.storage.uri("served"), tmp_path / "earlier")
        rows = [{"product_id": f"p{number}", "op": "upsert", "epoch": number}]
        marks = {f"held:{NAME}": number}
        seed(found, "served", rows, {"collection": NAME}, attempt=f"upsert/r{number}", marks=marks)
        record_upsert(found, f"r{number}", upserted=1)
    yield found


def record_upsert(lake: Lake, run_id: str, *, collection: str = NAME, outcome: str = "success", **counts: int) -> None:
    row = make_run_row("upsert", counts, {"collection": collection, "run_id": run_id}, outcome=outcome)
    record_runs(lake, "2026-01-02", run_id, [row])


def test_a_current_ledger_passes(lake: Lake) -> None:
    record_upsert(lake, "r3", outcome="failed", upserted=1)
    record_upsert(lake, "r4", upserted=0)
    record_upsert(lake, "r5", collection="moon_other", upserted=1)
    check_ledger(lake, NAME, 2)
    assert find_last_write(lake, NAME)["run_id"] == "r2"


def test_a_ledger_of_before_the_last_run_is_refused(lake: Lake, tmp_path: Path) -> None:
    rmtree(lake.storage.uri("served"))
    copytree(tmp_path / "earlier", lake.storage.uri("served"))
    with pytest.raises(DamageError, match=r"nothing of the run r2.*nothing was changed.*--rewrite-ledger"):
        check_ledger(lake, NAME, 1)


def test_a_ledger_that_was_reset_by_delta_or_lost_rows_is_refused(lake: Lake) -> None:
    lake.open("served").restore(1)  # Delta keeps the marks of later commits
    assert "1 products by its rows, and 2 by its last commit" in find_ledger_problem(lake, NAME, 1)
