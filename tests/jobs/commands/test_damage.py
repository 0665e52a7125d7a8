"""Tests of ``moon audit``, ``moon check-lake`` and ``moon repair --rewrite-ledger``: damage, message, remedy."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from jobs.cli import app
from jobs.errors import DamageError
from jobs.milvus.client import connect
from jobs.stages.runner import run_stages
from tests.jobs.lake.test_checking import cut
from tests.jobs.serving.test_row_writer import entity
from tests.jobs.serving_shop import ServingShop, let_commands_use, make_items, make_vector
from tests.milvus_rows import complete_row

FIRST, SECOND = "2026-01-02", "2026-01-03"


def moon(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})


@pytest.fixture
def served_shop(lite_shop: ServingShop, monkeypatch: pytest.MonkeyPatch) -> ServingShop:
    """Two served dates; the commands get lake and Milvus from the environment, and use the tests' Spark session."""
    for date, number in ((FIRST, 3), (SECOND, 4)):
        context = lite_shop.prepare_run(date, make_items(number))
        run_stages(context, ["upsert", "publish"])
    let_commands_use(context, monkeypatch)
    return lite_shop


@pytest.mark.long
def test_an_exchange_is_found_and_repaired(served_shop: ServingShop) -> None:
    context, name = served_shop.context(SECOND), served_shop.model.collection
    before = served_shop.held(context)
    assert json.loads(moon("audit", "--json").stdout)["equal"]
    with connect(context.settings) as client:
        client.load_collection(name)
        client.delete(name, filter='product_id == "p001"')
        foreign = {**entity("p9"), "epoch": 1, "vector": make_vector("f" * 15)}
        client.upsert(name, [complete_row(client, name, foreign)])
        client.release_collection(name)
        client.drop_index(name, "vector")
    found = moon("audit")
    assert found.exit_code == 1 and "1 missing (in the ledger, not in the collection): 'p001';" in found.stderr
    assert "1 orphaned (in the collection, not in the ledger): 'p9'" in found.stderr
    assert "has no index on its vectors" in found.stderr and "Run `moon repair --deep`" in found.stderr
    counts = json.loads(moon("audit", "--json").stdout)["counts"]
    assert {fault: number for fault, number in counts.items() if number} == {
        "missing": 1, "orphaned": 1, "foreign_model": 1,
    }  # fmt: skip
    assert moon("repair").exit_code == 0
    assert served_shop.held(context) == before
    with connect(context.settings) as client:
        assert "vector" in client.list_indexes(name)
    assert moon("audit", "--collection", name).exit_code == 0


@pytest.mark.long
def test_a_ledger_behind_is_not_followed_but_written_again(served_shop: ServingShop) -> None:
    context = served_shop.context(SECOND)
    before, ledger = served_shop.held(context), served_shop.read_ledger(context)
    log = max(Path(context.settings.lake, "served", "_delta_log").glob("*.json"))
    log.unlink()  # the table as it was after the first date
    refused = moon("repair")
    assert isinstance(refused.exception, DamageError) and "nothing was changed" in str(refused.exception)
    assert served_shop.held(context) == before
    audited = moon("audit")
    assert audited.exit_code == 1 and "--rewrite-ledger" in audited.stderr
    assert "would be written again: 4 rows" in moon("repair", "--rewrite-ledger", "--dry-run").stdout
    assert json.loads(moon("repair", "--rewrite-ledger", "--json").stdout)["date"] == SECOND
    assert served_shop.read_ledger(context) == ledger
    assert "nothing differs" in moon("repair").stdout
    assert moon("status").exit_code == 0 and moon("audit").exit_code == 0


@pytest.mark.faults
def test_lost_ledger_files_are_found_and_forgotten(served_shop: ServingShop) -> None:
    context, name = served_shop.context(SECOND), served_shop.model.collection
    before, ledger = served_shop.held(context), served_shop.read_ledger(context)
    assert "no file is damaged" in moon("check-lake", "--deep").stdout
    files = sorted(Path(context.settings.lake, "served", f"collection={name}").glob("*.parquet"))
    cut(files[0])
    assert isinstance(moon("repair").exception, DamageError)
    found = json.loads((checked := moon("check-lake", "--json")).stdout)["damage"]
    assert checked.exit_code == 1 and [Path(one["file"]).name for one in found] == [files[0].name]
    forgotten = moon("check-lake", "--forget")
    assert forgotten.exit_code == 1 and "moon repair --rewrite-ledger" in forgotten.stderr
    assert moon("check-lake").exit_code == 0
    assert isinstance(moon("repair").exception, DamageError), "the rest of the ledger is not followed"
    assert moon("repair", "--rewrite-ledger").exit_code == 0
    assert moon("audit").exit_code == 0
    assert (served_shop.held(context), served_shop.read_ledger(context)) == (before, ledger)


@pytest.mark.faults
def test_a_damaged_milvus_lite_comes_back_from_the_lake(served_shop: ServingShop) -> None:
    context = served_shop.context(SECOND)
    before = served_shop.held(context)
    database = Path(context.settings.milvus)
    cut(next(database.rglob("data_*.parquet")))
    said = moon("status")
    assert isinstance(said.exception, DamageError) and "move the database's folder away" in str(said.exception)
    assert "data_" in moon("check-lake").stderr
    shutil.move(database, f"{database}.damaged")
    run_stages(served_shop.prepare_run(SECOND, make_items(4)), ["upsert", "publish"])
    assert served_shop.held(context) == before
    assert moon("check-lake").exit_code == 0 and moon("audit").exit_code == 0
