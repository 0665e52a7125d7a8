"""A file of a lake is damaged: readers name it with its remedy; after the remedy lake and collection are as before.

The remedies are those of docs/runbook.md, "Damage", for a lake without a backup.
"""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.datasets.demo_catalog import write_demo_catalog
from jobs.errors import DamageError
from jobs.lake.store import open_lake
from jobs.milvus.client import connect, read_alias_target
from jobs.operations.backfill import plan_backfill, run_backfill
from jobs.serving.forgetting import forget_damage
from jobs.serving.lake_check import find_all_damage
from jobs.settings import Settings
from jobs.spark.failure_causes import explain_failures
from jobs.state.run_context import RunContext
from schemas.collection import build_collection_schema
from tests.jobs.lake.test_checking import cut
from tests.scenarios.nights import State, assert_same, run_night, state_of
from tests.scenarios.test_killed_nights import copy_of, settings_in

pytestmark = pytest.mark.faults
DAY = "2026-11-20"


@pytest.fixture(scope="module")
def demo_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    write_demo_catalog(folder, products=12, days=1, seed=11, start=date.fromisoformat(DAY))
    return folder


@pytest.fixture(scope="module")
def served_day(
    spark: SparkSession, demo_shop: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, State, str]:
    """A lake and a collection after one run, what they hold, and the model; copied, never changed."""
    folder = tmp_path_factory.mktemp("served")
    settings = settings_in(folder, demo_shop)
    model = run_night(spark, settings, DAY).results["report"].details["model"]
    return folder, state_of(spark, settings, model), model


def check(settings: Settings) -> list[str]:
    return [one.file for one in find_all_damage(open_lake(settings), settings, deep=True, advance=lambda *_: None)]


def encode_again(context: RunContext) -> None:
    (checkpoint,) = Path(context.settings.lake, "_models").glob("*/checkpoint")
    plan = plan_backfill(context, [DAY], str(checkpoint))
    assert list(run_backfill(context, plan, str(checkpoint)))


def run_again(context: RunContext) -> None:
    run_night(context.spark, context.settings, DAY)


@pytest.mark.parametrize(
    ("pattern", "remedy"),
    [
        ("snapshots/*/*.parquet", run_again),
        ("products/*/*.parquet", run_again),
        ("products/_delta_log/*.json", run_again),
        ("vectors/*/*/*.parquet", encode_again),
        ("changes/*/*.parquet", run_again),
        ("plans/_delta_log/*.json", run_again),
        ("leases/_delta_log/*.json", run_again),
        ("runs/*/*.parquet", run_again),
    ],
)
def test_a_damaged_file_is_named_and_its_rows_come_back(
    spark: SparkSession,
    demo_shop: Path,
    served_day: tuple[Path, State, str],
    tmp_path: Path,
    pattern: str,
    remedy: Callable[[RunContext], None],
) -> None:
    folder, before, model = served_day
    settings = settings_in(copy_of(folder, tmp_path / "var"), demo_shop)
    context = RunContext(spark, open_lake(settings), settings, DAY)
    assert check(settings) == []
    damaged = max(Path(settings.lake).glob(pattern))
    cut(damaged)
    with pytest.raises(DamageError, match=damaged.name), explain_failures(context.lake.storage):
        context.lake.read(spark, pattern.partition("/")[0]).collect()
    found = list(find_all_damage(context.lake, settings, deep=False, advance=lambda *_: None))
    assert [Path(one.file).name for one in found] == [damaged.name]
    (forgotten,) = forget_damage(context.lake, found)
    assert forgotten.is_done and forgotten.next_step
    remedy(context)
    assert check(settings) == []
    assert_same(state_of(spark, settings, model), before)


def test_a_collection_of_our_name_with_other_fields_is_replaced(
    spark: SparkSession, demo_shop: Path, served_day: tuple[Path, State, str], tmp_path: Path
) -> None:
    folder, before, model = served_day
    settings = settings_in(copy_of(folder, tmp_path / "var"), demo_shop)

    def drop(schema: object = None) -> None:
        with connect(settings) as client:
            name = read_alias_target(client, settings.alias) or names[0]
            names.append(name)
            for alias in client.list_aliases(name)["aliases"]:
                client.drop_alias(alias)
            client.drop_collection(name)
            if schema is not None:
                client.create_collection(name, schema=schema, properties=properties_of)

    names: list[str] = []
    with connect(settings) as client:
        target = read_alias_target(client, settings.alias)
        properties_of = dict(client.describe_collection(target)["properties"])
    drop(build_collection_schema(8))
    with pytest.raises(DamageError, match=r"vector has dimension 8.*Remedy: drop it"):
        run_night(spark, settings, DAY)
    drop()
    run_night(spark, settings, DAY)
    assert_same(state_of(spark, settings, model), before)
