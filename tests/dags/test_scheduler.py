"""The DAGs on a real scheduler: four services, LocalExecutor, Postgres, real Spark submits, a real lake and collection.

One shop, one story: a task that is killed and retried; a night by schedule; a backfill of three days while a night
started over REST goes on; three more, backwards; another model, approved over REST. The backfills' submits are noted
and not run (what they do, in either order, is told in ``tests/scenarios/test_backfill_nights.py``), everything else is
the real thing.
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
from tests.dags.postgres import postgres, reason_against

REPOSITORY = Path(__file__).resolve().parents[2]
MOON = REPOSITORY / ".venv" / "bin" / "moon"
PRODUCTS = 20
NIGHT_SECONDS = 2400
"""A night takes one and a half minutes on two free cores, and many on crowded ones."""

pytestmark = [pytest.mark.long, pytest.mark.timeout(4 * NIGHT_SECONDS)]


@dataclass
class Shop:
    """The shop behind the running Airflow.

    Attributes:
        tick: when the night by schedule was due; today.
        jobs: the jobs' environment, which notes every Spark submit.
        alerts: what the webhook got.
        next_model: a checkpoint of another version.
    """

    airflow: Airflow
    tick: datetime
    jobs: JobsEnvironment
    alerts: list
    next_model: Path

    @property
    def today(self) -> date:
        return self.tick.date()

    def moon(self, *arguments: str) -> dict:
        """Run a `moon` command with --json."""
        done = subprocess.run(
            [MOON, *arguments, "--json"], env=self.airflow.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    def late(self) -> set[str]:
        return {notice["run_id"] for _, notice in self.alerts if notice["event"] == "moon_run_late"}


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Iterator[str]:
    """Postgres where it is installed, else SQLite, and why."""
    reason = reason_against()
    if reason:
        warnings.warn(f"the scheduler test runs on SQLite: {reason}", stacklevel=1)  # pytest prints it at the end
        yield f"sqlite:///{tmp_path_factory.mktemp('sqlite')}/airflow.db"
        return
    with postgres() as url:
        yield url


@pytest.fixture(scope="module")
def shop(tmp_path_factory, database) -> Iterator[Shop]:
    """A demo shop as it is today, a second model, and an Airflow whose nightly is due now."""
    home, root = tmp_path_factory.mktemp("airflow"), tmp_path_factory.mktemp("shop")
    zone = where_it_is_noon()
    tick = (datetime.now(zone) - timedelta(minutes=1)).replace(second=0, microsecond=0)
    jobs = JobsEnvironment.make(
        root / "jobs", left_out=[f"{tick.date() - timedelta(days=days)}" for days in range(1, 10)]
    )
    drawn = [f"--out={root / 'catalog'}", f"--products={PRODUCTS}", "--days=1", f"--start={tick.date()}", "--seed=5"]
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
            "MOON_SCHEDULE": f"{tick.minute} {tick.hour} * * *",
            "MOON_TIMEZONE": zone.key,
            "MOON_DEADLINE_HOURS": "0.003",  # eleven seconds: every night is late
            "MOON_SPARK_MEMORY": "1g",
            "MOON_JOBS_ENV": str(jobs.folder),
        }
        with airflow_services(home, airflow_environment(home) | settings, bundles) as airflow:
            wanted = {"moon_nightly", "moon_backfill", "moon_rollout", "after_moon", "killed"}
            wait_until(lambda: wanted <= dag_ids(airflow), 300, "DAGs", airflow.tail)
            assert airflow.call("GET", "/importErrors")["import_errors"] == []
            yield Shop(airflow, tick, jobs, alerts, next_model)


def dag_ids(airflow: Airflow) -> set[str]:
    return {dag["dag_id"] for dag in airflow.call("GET", "/dags", params={"exclude_stale": False})["dags"]}


def where_it_is_noon() -> ZoneInfo:
    """Return a time zone where no midnight comes while the test runs."""
    east = 12 - datetime.now(UTC).hour
    return ZoneInfo(f"Etc/GMT{-east:+d}")  # POSIX counts westwards


def earlier(today: date, last: int = 1) -> list[date]:
    """Three days, the last of them so many days ago."""
    return [today - timedelta(days=last + days) for days in (2, 1, 0)]


@pytest.fixture(scope="module")
def scheduled(shop: Shop) -> dict:
    """The night by schedule, with the DAG downstream listening."""
    for dag in ("after_moon", "moon_nightly"):
        shop.airflow.unpause(dag)
    (run,) = wait_until(lambda: shop.airflow.runs("moon_nightly"), 120, "scheduled night", shop.airflow.tail)
    return shop.airflow.wait_for_run("moon_nightly", run["dag_run_id"], NIGHT_SECONDS)


def test_a_killed_task_is_retried(shop: Shop):
    airflow = shop.airflow
    airflow.unpause("killed")
    run = airflow.trigger("killed")
    (first,) = wait_until(shop.jobs.calls, 240, "first try", airflow.tail)
    os.kill(first["caller"], signal.SIGKILL)
    airflow.wait_for_run("killed", run, 300)
    assert airflow.tasks("killed", run)["prepare"]["try_number"] == 2
    assert len(shop.jobs.calls()) == 2


def test_a_night_by_schedule(shop: Shop, scheduled: dict):
    airflow = shop.airflow
    assert scheduled["run_type"] == "scheduled"
    assert datetime.fromisoformat(scheduled["logical_date"]) == shop.tick
    tasks = airflow.tasks("moon_nightly", scheduled["dag_run_id"])
    assert {name: task["state"] for name, task in tasks.items()} == dict.fromkeys(tasks, "success")
    status = shop.moon("status")
    assert status["snapshot_date"] == shop.today.isoformat()
    assert status["rows"] > PRODUCTS // 2

    (after,) = wait_until(lambda: airflow.runs("after_moon"), 120, "run downstream", airflow.tail)
    airflow.wait_for_run("after_moon", after["dag_run_id"], 120)
    assert after["run_type"] == "asset_triggered"
    path = f"/dags/after_moon/dagRuns/{after['dag_run_id']}/taskInstances/refresh/xcomEntries/return_value"
    assert airflow.call("GET", path)["value"] == [shop.today.isoformat()]
    wait_until(lambda: scheduled["dag_run_id"] in shop.late(), 60, "alert of the late night", airflow.tail)
    assert airflow.ended() == []  # not even the triggerer, which calls for help itself


def fill_in(shop: Shop, days: list[date], *options: str) -> list[tuple[str, str]]:
    """Let Airflow backfill days with its own command; return date and command of each submit, in order."""
    airflow, known = shop.airflow, len(shop.jobs.calls())
    first, last = (shop.tick.replace(year=day.year, month=day.month, day=day.day) for day in (days[0], days[-1]))
    window = ["--from-date", first.isoformat(), "--to-date", last.isoformat(), "--max-active-runs", "1"]
    before = len(backfilled(airflow))
    airflow.run("backfill", "create", "--dag-id", "moon_nightly", *window, *options)

    def filled() -> list[dict]:
        runs = backfilled(airflow)
        return runs if all(run["state"] in ENDED for run in runs) and len(runs) == before + len(days) else []

    runs = wait_until(filled, NIGHT_SECONDS, "end of the backfill", airflow.tail)
    assert {run["state"] for run in runs} == {"success"}
    return [(call["date"], call["command"]) for call in shop.jobs.calls()[known:] if call["date"] in map(str, days)]


def backfilled(airflow: Airflow) -> list[dict]:
    return [run for run in airflow.runs("moon_nightly") if run["run_type"] == "backfill"]


def test_three_days_are_filled_in_while_a_night_by_rest_goes_on(shop: Shop, scheduled: dict):
    airflow, before = shop.airflow, shop.moon("status")
    days = earlier(shop.today)
    by_hand = airflow.trigger("moon_nightly")
    calls = fill_in(shop, days)
    assert calls == [(f"{day}", group) for day in days for group in ("prepare", "infer", "serve")]

    assert airflow.wait_for_run("moon_nightly", by_hand, NIGHT_SECONDS)["logical_date"] is None
    today = [call["command"] for call in shop.jobs.calls() if call["date"] == f"{shop.today}"]
    assert today == ["prepare", "infer", "serve"] * 2
    after = shop.moon("status")
    same = ("collection", "rows", "snapshot_date", "model")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert after["served_at"] > before["served_at"]  # the night was run again, and found itself done


def test_days_are_filled_in_backwards(shop: Shop, scheduled: dict):
    days = earlier(shop.today, last=4)
    calls = fill_in(shop, days, "--run-backwards")
    assert calls == [(f"{day}", group) for day in reversed(days) for group in ("prepare", "infer", "serve")]


def test_a_rollout_waits_for_a_person(shop: Shop, scheduled: dict):
    airflow, before = shop.airflow, shop.moon("status")
    airflow.unpause("moon_rollout")
    run = airflow.trigger("moon_rollout", model=str(shop.next_model), reason="a test")
    path = f"/dags/moon_rollout/dagRuns/{run}"

    def asked() -> list:
        return airflow.call("GET", f"{path}/hitlDetails")["hitl_details"]

    (question,) = wait_until(asked, NIGHT_SECONDS, "question", lambda: airflow.logs_of("moon_rollout", run))
    assert str(shop.next_model) in question["subject"]
    assert shop.moon("status")["collection"] == before["collection"]

    answer = {"chosen_options": ["Approve"], "params_input": {}}
    airflow.call("PATCH", f"{path}/taskInstances/approve/-1/hitlDetails", json=answer)
    airflow.wait_for_run("moon_rollout", run, NIGHT_SECONDS)
    after = shop.moon("status")
    assert after["collection"] != before["collection"]
    assert (after["rows"], after["snapshot_date"]) == (before["rows"], before["snapshot_date"])
    assert after["checkpoint"] == str(shop.next_model)
