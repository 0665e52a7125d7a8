"""Tests a nightly run of a small demo shop through the whole DAG: real Spark submits, a real lake, a real collection.

``tests/scripts/test_nightly.py`` tests runs with a logical date, through ``airflow dags test``.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

REPOSITORY = Path(__file__).resolve().parents[2]
MOON = REPOSITORY / ".venv" / "bin" / "moon"
PRODUCTS = 24


def run_moon(*arguments):
    answer = subprocess.run([str(MOON), *arguments], check=False, capture_output=True, text=True, env=os.environ)
    assert answer.returncode == 0, answer.stderr[-3000:]
    return answer.stdout


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Parameters of a run on a demo shop of one date, with lake and collection in the test's folder."""
    monkeypatch.setenv("MOON_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("MOON_MILVUS", str(tmp_path / "milvus.db"))
    monkeypatch.setenv("MOON_DEADLINE_HOURS", "0")  # dag.test() fails on deadlines, see dags/deadline.py
    catalog = tmp_path / "catalog"
    run_moon("demo-catalog", f"--out={catalog}", f"--products={PRODUCTS}", "--days=1", "--seed=3", "--start=2026-03-01")
    return {"catalog": f"{catalog}/{{date}}/catalog.jsonl", "mapping": f"{catalog}/mapping.toml"}


@pytest.mark.timeout(900)
def test_a_run_without_a_logical_date(shop, airflow_database):
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import select

    bag = DagBag(str(REPOSITORY / "dags"), bundle_path=REPOSITORY / "dags", bundle_name="dags-folder")
    dag = bag.dags["moon_nightly"]
    for task in dag.tasks:
        task.retries = 0  # a failure ends the test at once
    run = dag.test(logical_date=None, run_conf=shop | {"date": "2026-03-01"})
    assert run.state == "success"
    assert run.logical_date is None

    with create_session() as session:
        events = session.scalars(select(AssetEvent)).all()
    assert [event.extra["snapshot_date"] for event in events] == ["2026-03-01"]

    hits = json.loads(run_moon("search", "red mug", "--k=5", "--json"))
    assert len(hits) == 5
    assert all({"product_id", "score", "title"} <= hit.keys() for hit in hits)
