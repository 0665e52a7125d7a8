"""A run that is killed in any stage and repeated, or run twice at once, has the result of one undisturbed run."""

import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.datasets.demo_catalog import write_demo_catalog
from jobs.settings import Settings
from jobs.stages.runner import NIGHTLY_STAGES
from tests.scenarios.nights import NightProcess, State, assert_same, run_night, settings_in, state_of

DAYS = ("2026-11-20", "2026-11-21")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    write_demo_catalog(folder, products=40, days=2, seed=11, start=date(2026, 11, 20))
    return folder


@pytest.fixture(scope="module")
def first_night(spark: SparkSession, shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake and a collection after one undisturbed run; copied, never changed."""
    folder = tmp_path_factory.mktemp("first")
    run_night(spark, settings_in(folder, shop), DAYS[0])
    return folder


@pytest.fixture(scope="module")
def clean(spark: SparkSession, shop: Path, first_night: Path, tmp_path_factory: pytest.TempPathFactory) -> State:
    """The result of a second undisturbed run."""
    settings = settings_in(copy_of(first_night, tmp_path_factory.mktemp("clean") / "var"), shop)
    outcome = run_night(spark, settings, DAYS[1])
    return state_of(spark, settings, outcome.results["report"].details["model"])


def copy_of(first: Path, folder: Path) -> Path:
    shutil.copytree(first, folder)
    return folder


@pytest.mark.parametrize(
    "stage",
    [
        pytest.param(stage, marks=pytest.mark.long if stage == "upsert" else pytest.mark.faults)
        for stage in NIGHTLY_STAGES
    ],
)
def test_killed_and_run_again(
    spark: SparkSession,
    shop: Path,
    first_night: Path,
    clean: State,
    tmp_path: Path,
    start_night: Callable[[Settings, str], NightProcess],
    stage: str,
) -> None:
    settings = settings_in(copy_of(first_night, tmp_path / "var"), shop)
    context = start_night(settings, DAYS[1])
    context.wait_for(f"{DAYS[1]} {stage} begins")
    context.kill()
    outcome = run_night(spark, settings, DAYS[1])
    assert_same(state_of(spark, settings, outcome.results["report"].details["model"]), clean)


@pytest.mark.long
def test_two_copies_at_once(
    spark: SparkSession,
    shop: Path,
    first_night: Path,
    clean: State,
    tmp_path: Path,
    start_night: Callable[[Settings, str], NightProcess],
) -> None:
    settings = settings_in(copy_of(first_night, tmp_path / "var"), shop)
    twins = [start_night(settings, DAYS[1]) for _ in range(2)]
    documents = [twin.document() for twin in twins]
    assert {document["rows"]["delivered"] for document in documents} == {documents[0]["rows"]["delivered"]}
    assert_same(state_of(spark, settings, documents[0]["model"]), clean)
