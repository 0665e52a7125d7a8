"""Tests of ``moon repair``, ``restore``, ``release``, ``rollback`` and ``retire`` on the command line."""

import json

import pytest
from typer.testing import CliRunner, Result

import jobs.commands.operate
from jobs.cli import app
from jobs.errors import NightStoppedError
from jobs.milvus.client import connect
from jobs.stages.plan import plan
from jobs.state.hold import RunsHeldError
from tests.jobs.serving_shop import ServingShop, let_commands_use, make_items
from tests.jobs.stage_calls import upsert

FIRST, SECOND = "2026-01-02", "2026-01-03"


def moon(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})


@pytest.fixture
def shop(lite_shop: ServingShop, monkeypatch: pytest.MonkeyPatch) -> ServingShop:
    """Two served dates; the commands get lake and Milvus from the environment, and use the tests' Spark session."""
    upsert(lite_shop.prepare_run(FIRST, make_items(3)))
    context = lite_shop.prepare_run(SECOND, make_items(4))
    upsert(context)
    with connect(context.settings) as client:
        client.create_alias(lite_shop.model.collection, "products")
    let_commands_use(context, monkeypatch)
    return lite_shop


def test_repair(shop: ServingShop) -> None:
    assert "4 rows: nothing differs" in moon("repair").stdout
    with connect(shop.context(SECOND).settings) as client:
        client.load_collection(shop.model.collection)
        client.delete(shop.model.collection, filter='product_id == "p001"')
    assert "1 missing, 0 changed, 0 not to be there; nothing was repaired" in moon("repair", "--dry-run").stdout
    found = json.loads(moon("repair", "--json").stdout)
    assert (found["missing"], found["mended"], found["dry_run"]) == (1, 1, False)


def test_restore_hold_and_release(shop: ServingShop) -> None:
    command = ("restore", "--date", FIRST, "--reason", "spam [sale]")
    assert (
        "would go from 2026-01-03 back to 2026-01-02: 3 rows, 0 brought back, 1 deleted"
        in moon(*command, "--dry-run").stdout
    )
    assert json.loads(moon("status", "--json").stdout)["hold"] is None
    done = moon(*command)
    assert "went from 2026-01-03 back to 2026-01-02" in done.stdout and "held until `moon release`" in done.stdout
    held = json.loads(moon("status", "--json").stdout)["hold"]
    assert (held["restored"], held["reason"]) == (FIRST, "spam [sale]")
    assert "spam [sale]" in moon("status").stdout
    with pytest.raises(RunsHeldError, match="moon release"):
        plan(shop.context(SECOND))
    assert json.loads(moon("release", "--json").stdout)["released"]["restored"] == FIRST
    assert "Nights were not held." in moon("release").stdout
    assert json.loads(moon("status", "--json").stdout)["hold"] is None
    history = [row for row in shop.context(FIRST).lake.read_arrow("runs").to_pylist() if row["stage"] == "release"]
    assert len(history) == 1 and dict(history[0]["details"])["reason"] == "spam [sale]"
    refused = moon(*command)
    assert isinstance(refused.exception, NightStoppedError) and "nothing later than" in str(refused.exception)
    assert moon("restore", "--date", FIRST).exit_code == 2, "a reason is required"
    assert moon("restore", "--date", "yesterday", "--reason", "x").exit_code == 2


def test_rollback_has_somewhere_to_go(shop: ServingShop) -> None:
    refused = moon("rollback", "--dry-run")
    assert isinstance(refused.exception, NightStoppedError)
    assert "has named no other collection before" in str(refused.exception)


def test_retire_takes_what_nobody_names(shop: ServingShop) -> None:
    served = shop.model.collection
    refused = moon("retire", "--model", shop.model.model_version[:6], "--reason", "old")
    assert isinstance(refused.exception, NightStoppedError) and "the collection that is served" in str(
        refused.exception
    )
    with connect(shop.context(SECOND).settings) as client:
        client.drop_alias("products")
    command = ("retire", "--model", shop.model.model_version[:6], "--reason", "old")
    assert (
        f"{served} (model {shop.model.model_version[:12]}, 4 rows of {SECOND}) would be"
        in moon(*command, "--dry-run").stdout
    )
    found = json.loads(moon(*command, "--json").stdout)
    assert (found["collection"], found["rows"], found["dry_run"]) == (served, 4, False)


@pytest.mark.parametrize("verb", ["repair", "restore", "release", "rollback", "retire"])
def test_help_teaches_by_example(verb: str) -> None:
    shown = moon(verb, "--help").stdout
    assert "--json" in shown and f"moon {verb}" in shown
    assert getattr(jobs.commands.operate, verb).__doc__
