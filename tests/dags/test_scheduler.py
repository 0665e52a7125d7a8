"""Tests the DAGs on a real scheduler: four services, LocalExecutor, Postgres, Spark submits, a lake and a collection.

The tests share one shop and run in this order: a task that is killed and retried; a scheduled run; a backfill of three
dates during a run that was started over REST; three earlier dates in reverse order; another model, approved over REST.
Spark submits of the backfills are recorded and not run: ``tests/scenarios/test_backfill_nights.py`` tests their effect.
"""

import json
import os
import signal
import subprocess
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from shutil import copytree
from zoneinfo import ZoneInfo

import pytest
from airflow_home import airflow_environment

from tests.dags.airflow_services import ENDED, Airflow, airflow_services, wait_until
from tests.dags.jobs_environment import JobsEnvironment
from tests.dags.listeners import webhook
from tests.dags.postgres import explain_missing_postgres, postgres

GROUPS = ("prepare", "infer", "serve", "report")
"""The tasks of a nightly run, in order."""

REPOSITORY = Path(__file__).resolve().parents[2]
MOON = REPOSITORY / ".venv" / "bin" / "moon"
PRODUCTS = 20
RUN_SECONDS = 2400
"""Limit of one run, which takes one and a half minutes on two idle cores and much longer on busy ones."""

pytestmark = [pytest.mark.long, pytest.mark.timeout(4 * RUN_SECONDS)]


@dataclass
class Shop:
    """A running Airflow and the shop that its DAGs process.

    Attributes:
        airflow: the services.
        due: time at which the scheduled run was due, on the shop's current day.
        jobs: the jobs' environment, which records every Spark submit.
        alerts: requests that the webhook has received.
        next_model: folder of a checkpoint of another model version.
    """

    airflow: Airflow
    due: datetime
    jobs: JobsEnvironment
    alerts: list
    next_model: Path

    @property
    def today(self) -> date:
        return self.due.date()

    def run_moon(self, *arguments: str) -> dict:
        """Run a `moon` command with --json and return the JSON."""
        result = subprocess.run(
            [MOON, *arguments, "--json"], env=self.airflow.environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr[-3000:]
        return json.loads(result.stdout.splitlines()[-1])

    def list_late_runs(self) -> set[str]:
        return {notice["run_id"] for _, notice in self.alerts if notice["event"] == "moon_run_late"}


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Iterator[str]:
    """The URL of a Postgres database, or of SQLite with a warning where Postgres is not installed."""
    reason = explain_missing_postgres()
    if reason:
        warnings.warn(f"the scheduler test runs on SQLite: {reason}", stacklevel=1)  # pytest prints it at the end
        yield f"sqlite:///{tmp_path_factory.mktemp('sqlite')}/airflow.db"
        return
    with postgres() as url:
        yield url


@pytest.fixture(scope="module")
def shop(tmp_path_factory, database) -> Iterator[Shop]:
    """A demo shop of one date, a second model, and an Airflow whose scheduled run is due now."""
    home = tmp_path_factory.mktemp("airflow")
    root = tmp_path_factory.mktemp("shop")
    zone = find_zone_at_noon()
    due = (datetime.now(zone) - timedelta(minutes=1)).replace(second=0, microsecond=0)
    jobs = JobsEnvironment.make(
        root / "jobs", skipped_dates=[f"{due.date() - timedelta(days=days)}" for days in range(1, 10)]
    )
    drawn = [f"--out={root / 'catalog'}", f"--products={PRODUCTS}", "--days=1", f"--start={due.date()}", "--seed=5"]
    subprocess.run([MOON, "demo-catalog", *drawn], check=True, capture_output=True)
    next_model = copytree(REPOSITORY / "checkpoints" / "moon-tiny", root / "next")
    processing = json.loads((next_model / "processor_config.json").read_text())
    processing["lowercase"] = not processing["lowercase"]
    (next_model / "processor_config.json").write_text(json.dumps(processing))
    bundles = {"moon": REPOSITORY / "dags", "after": REPOSITORY / "examples" / "dags"}
    bundles["stand-in"] = Path(__file__).with_name("stand_in")
    with webhook() as (port, alerts):
        settings = {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "AIRFLOW_CONN_MOON_ALERTS": json.dumps(
                {"conn_type": "http", "host": "127.0.0.1", "schema": "http", "port": port}
            ),
            "MOON_LAKE": str(root / "lake"),
            "MOON_MILVUS": str(root / "milvus.db"),
            "MOON_CATALOG": f"{root / 'catalog'}/{{date}}/catalog.jsonl",
            "MOON_MAPPING": f"{root / 'catalog'}/mapping.toml",
            "MOON_SCHEDULE": f"{due.minute} {due.hour} * * *",
            "MOON_TIMEZONE": zone.key,
            "MOON_DEADLINE_HOURS": "0.003",  # eleven seconds: every run is late
            "MOON_SPARK_MEMORY": "1g",
            "MOON_JOBS_ENV": str(jobs.folder),
        }
        with airflow_services(home, airflow_environment(home) | settings, bundles) as airflow:
            wanted = {"moon_nightly", "moon_backfill", "moon_rollout", "after_moon", "killed"}
            wait_until(lambda: wanted <= list_dag_ids(airflow), 300, "DAGs", airflow.read_service_logs)
            assert airflow.call("GET", "/importErrors")["import_errors"] == []
            yield Shop(airflow, due, jobs, alerts, next_model)


def list_dag_ids(airflow: Airflow) -> set[str]:
    return {dag["dag_id"] for dag in airflow.call("GET", "/dags", params={"exclude_stale": False})["dags"]}


def find_zone_at_noon() -> ZoneInfo:
    """Return a time zone where it is about noon, so that the date does not change during the test."""
    east = 12 - datetime.now(UTC).hour
    return ZoneInfo(f"Etc/GMT{-east:+d}")  # POSIX signs are positive to the west


def list_earlier_dates(today: date, last: int = 1) -> list[date]:
    """Return three consecutive dates, the last of them `last` days before today."""
    return [today - timedelta(days=last + days) for days in (2, 1, 0)]


@pytest.fixture(scope="module")
def scheduled(shop: Shop) -> dict:
    """The finished scheduled run; the example DAG that its asset triggers is unpaused."""
    for dag in ("after_moon", "moon_nightly"):
        shop.airflow.unpause(dag)
    (run,) = wait_until(
        lambda: shop.airflow.list_runs("moon_nightly"), 120, "scheduled run", shop.airflow.read_service_logs
    )
    return shop.airflow.wait_for_run("moon_nightly", run["dag_run_id"], RUN_SECONDS)


def test_a_killed_task_is_retried(shop: Shop):
    airflow = shop.airflow
    airflow.unpause("killed")
    run = airflow.trigger("killed")
    (first,) = wait_until(shop.jobs.read_calls, 240, "first try", airflow.read_service_logs)
    os.kill(first["caller"], signal.SIGKILL)
    airflow.wait_for_run("killed", run, 300)
    assert airflow.get_tasks("killed", run)["prepare"]["try_number"] == 2
    assert len(shop.jobs.read_calls()) == 2


def test_a_scheduled_run(shop: Shop, scheduled: dict):
    airflow = shop.airflow
    assert scheduled["run_type"] == "scheduled"
    assert datetime.fromisoformat(scheduled["logical_date"]) == shop.due
    tasks = airflow.get_tasks("moon_nightly", scheduled["dag_run_id"])
    assert {name: task["state"] for name, task in tasks.items()} == dict.fromkeys(tasks, "success")
    status = shop.run_moon("status")
    assert status["snapshot_date"] == shop.today.isoformat()
    assert status["rows"] > PRODUCTS // 2

    (after,) = wait_until(lambda: airflow.list_runs("after_moon"), 120, "run downstream", airflow.read_service_logs)
    airflow.wait_for_run("after_moon", after["dag_run_id"], 120)
    assert after["run_type"] == "asset_triggered"
    path = f"/dags/after_moon/dagRuns/{after['dag_run_id']}/taskInstances/refresh/xcomEntries/return_value"
    assert airflow.call("GET", path)["value"] == [shop.today.isoformat()]
    wait_until(
        lambda: scheduled["dag_run_id"] in shop.list_late_runs(), 60, "alert of the late run", airflow.read_service_logs
    )
    assert airflow.list_ended_services() == []  # the triggerer, which sends the alert, runs too


def run_backfill(shop: Shop, days: list[date], *options: str) -> list[tuple[str, str]]:
    """Run `airflow backfill create` for dates and return date and command of each submit, in order."""
    airflow = shop.airflow
    known = len(shop.jobs.read_calls())
    first, last = (shop.due.replace(year=day.year, month=day.month, day=day.day) for day in (days[0], days[-1]))
    window = ["--from-date", first.isoformat(), "--to-date", last.isoformat(), "--max-active-runs", "1"]
    before = len(list_backfill_runs(airflow))
    airflow.run("backfill", "create", "--dag-id", "moon_nightly", *window, *options)

    def list_if_ended() -> list[dict]:
        runs = list_backfill_runs(airflow)
        return runs if all(run["state"] in ENDED for run in runs) and len(runs) == before + len(days) else []

    runs = wait_until(list_if_ended, RUN_SECONDS, "end of the backfill", airflow.read_service_logs)
    assert {run["state"] for run in runs} == {"success"}
    return [
        (call["date"], call["command"]) for call in shop.jobs.read_calls()[known:] if call["date"] in map(str, days)
    ]


def list_backfill_runs(airflow: Airflow) -> list[dict]:
    return [run for run in airflow.list_runs("moon_nightly") if run["run_type"] == "backfill"]


def test_a_backfill_of_three_dates_during_a_run_over_rest(shop: Shop, scheduled: dict):
    airflow = shop.airflow
    before = shop.run_moon("status")
    days = list_earlier_dates(shop.today)
    over_rest = airflow.trigger("moon_nightly")
    calls = run_backfill(shop, days)
    assert calls == [(f"{day}", group) for day in days for group in GROUPS]

    assert airflow.wait_for_run("moon_nightly", over_rest, RUN_SECONDS)["logical_date"] is None
    today = [call["command"] for call in shop.jobs.read_calls() if call["date"] == f"{shop.today}"]
    assert today == [*GROUPS, *GROUPS]
    after = shop.run_moon("status")
    same = ("collection", "rows", "snapshot_date", "model")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert after["served_at"] > before["served_at"]  # the run was repeated and found its work done


def test_a_backwards_backfill(shop: Shop, scheduled: dict):
    days = list_earlier_dates(shop.today, last=4)
    calls = run_backfill(shop, days, "--run-backwards")
    assert calls == [(f"{day}", group) for day in reversed(days) for group in GROUPS]


def test_a_rollout_waits_for_approval(shop: Shop, scheduled: dict):
    airflow = shop.airflow
    before = shop.run_moon("status")
    airflow.unpause("moon_rollout")
    run = airflow.trigger("moon_rollout", model=str(shop.next_model), reason="a test")
    path = f"/dags/moon_rollout/dagRuns/{run}"

    def list_questions() -> list:
        return airflow.call("GET", f"{path}/hitlDetails")["hitl_details"]

    (question,) = wait_until(
        list_questions, RUN_SECONDS, "question", lambda: airflow.read_task_logs("moon_rollout", run)
    )
    assert str(shop.next_model) in question["subject"]
    assert shop.run_moon("status")["collection"] == before["collection"]

    answer = {"chosen_options": ["Approve"], "params_input": {}}
    airflow.call("PATCH", f"{path}/taskInstances/approve/-1/hitlDetails", json=answer)
    airflow.wait_for_run("moon_rollout", run, RUN_SECONDS)
    after = shop.run_moon("status")
    assert after["collection"] != before["collection"]
    assert (after["rows"], after["snapshot_date"]) == (before["rows"], before["snapshot_date"])
    assert after["checkpoint"] == str(shop.next_model)
