"""Tests of the example DAG that the asset of the nightly DAG triggers."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.dag_processing.dagbag import DagBag

from dags.moon_nightly import PUBLISHED

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "dags"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("after_moon", EXAMPLES / "after_moon.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_scheduled_by_the_published_asset(example):
    bag = DagBag(dag_folder=str(EXAMPLES), bundle_path=EXAMPLES, bundle_name="examples")
    assert bag.import_errors == {}
    assert list(bag.dags) == ["after_moon"]
    assert example.PRODUCTS == PUBLISHED
    assert str(PUBLISHED.uri) in repr(bag.dags["after_moon"].timetable.asset_condition)


def test_it_reads_the_dates_of_the_asset_events(example):
    events = [SimpleNamespace(extra={"snapshot_date": day}) for day in ("2026-03-02", "2026-03-01", "2026-03-02")]
    events.append(SimpleNamespace(extra={}))  # an event without date, created in the web interface
    refresh = example.after_moon().get_task("refresh").python_callable
    assert refresh(triggering_asset_events={example.PRODUCTS: events}) == ["2026-03-01", "2026-03-02"]
