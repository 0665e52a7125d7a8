"""The way from a task to the jobs: command line, environment, connection, and what an exit status means."""

import json
import os
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from dags.moon_nightly import options
from dags.snapshot_date import MACROS
from dags.spark_submit import (
    APPLICATION,
    CONNECTION,
    ensure_connection,
    given,
    given_settings,
    submit_environment,
    submit_stages,
)
from jobs.settings import Settings

RECORDER = """#!{python}
import json, os, sys
json.dump({{"argv": sys.argv[1:], "environment": dict(os.environ)}}, open({record!r}, "w"))
print("2026-01-01 INFO jobs.stages.runner the job's own words")
sys.exit(int(os.environ.get("FAKE_STATUS", "0")))
"""
RUN = SimpleNamespace(logical_date=datetime(2026, 3, 1, 2, tzinfo=UTC), run_after=datetime(2026, 3, 1, 2, tzinfo=UTC))
UNSET = dict.fromkeys(("date", "catalog", "mapping", "allow_deletes", "allow_refusals", "allow_shift", "reason"))


@pytest.fixture(autouse=True)
def jobs_environment(tmp_path, monkeypatch):
    """A jobs environment whose spark-submit writes down how it was called; returns that record's path."""
    environment, record = tmp_path / "jobs-env", tmp_path / "record.json"
    (environment / "lib/python3.11/site-packages/pyspark").mkdir(parents=True)
    (environment / "bin").mkdir()
    submit = environment / "bin" / "spark-submit"
    submit.write_text(RECORDER.format(python=sys.executable, record=str(record)))
    submit.chmod(submit.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("MOON_JOBS_ENV", str(environment))
    monkeypatch.delenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", raising=False)
    return record


def run_group(group="prepare", params=(), **settings):
    """Render and execute the nightly's task `group` as Airflow would."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        with DAG("commands", user_defined_macros=MACROS) as dag:
            task = submit_stages(group, options(), timedelta(hours=1))
        context = {"params": UNSET | dict(params), "dag_run": RUN}
        task.render_template_fields(context, jinja_env=dag.get_template_env())
        try:
            task.execute(context)
        finally:
            os.environ.pop(f"AIRFLOW_CONN_{CONNECTION.upper()}", None)


def test_the_plain_command_line(jobs_environment):
    run_group()
    argv = json.loads(jobs_environment.read_text())["argv"]
    assert argv[-3:] == [str(APPLICATION), "prepare", "--date=2026-03-01"], "options without a value are left out"
    assert argv[argv.index("--master") + 1] == "local[2]"
    assert argv[argv.index("--name") + 1] == "moon-prepare"
    assert argv[argv.index("--driver-memory") + 1] == Settings().spark_memory
    assert "spark.driver.bindAddress=127.0.0.1" in argv, "a local session listens on the loopback only"
    assert APPLICATION.is_file()


def test_every_parameter_arrives_as_one_argument(jobs_environment):
    reason = "range cut; rm -rf / $(id) 'quoted' — agreed"
    run_group(
        params={
            "date": "2026-02-14",
            "catalog": "/data/{date}/shop.csv",
            "mapping": "shop.toml",
            "allow_deletes": 0.25,
            "allow_refusals": 0,
            "reason": reason,
        }
    )
    argv = json.loads(jobs_environment.read_text())["argv"]
    assert argv[argv.index("prepare") :] == [
        "prepare",
        "--date=2026-02-14",
        "--catalog=/data/{date}/shop.csv",
        "--mapping=shop.toml",
        "--allow-deletes=0.25",
        "--allow-refusals=0",
        f"--reason={reason}",
    ]


def test_the_job_runs_in_its_own_environment_with_our_settings(jobs_environment, tmp_path):
    run_group(MOON_LAKE=str(tmp_path / "lake"), MOON_ALLOWED_ROOTS='["/data"]')
    environment = json.loads(jobs_environment.read_text())["environment"]
    jobs_env = tmp_path / "jobs-env"
    assert environment["SPARK_HOME"] == str(jobs_env / "lib/python3.11/site-packages/pyspark")
    assert environment["PYSPARK_PYTHON"] == environment["PYSPARK_DRIVER_PYTHON"] == str(jobs_env / "bin/python")
    assert environment["PATH"].split(os.pathsep)[0] == str(jobs_env / "bin")
    assert environment["MOON_LAKE"] == str(tmp_path / "lake")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            if name.startswith("MOON_"):
                patch.setenv(name, value)
        assert Settings().allowed_roots == ("/data",), "the job reads what the scheduler read"


def test_secrets_are_not_among_the_variables_that_airflow_shows(monkeypatch):
    monkeypatch.setenv("MOON_MILVUS_TOKEN", "root:hunter2")
    monkeypatch.setenv("MOON_LAKE_STORAGE_OPTIONS", '{"AWS_SECRET_ACCESS_KEY": "hunter2"}')
    assert "hunter2" not in json.dumps(given_settings(Settings()))
    assert "hunter2" not in json.dumps(submit_environment(Settings()))


def test_what_was_not_given_is_left_out():
    arguments = ["backfill", "--where=", "--reason=a=", "--reason=really?True", "--dry-run?True", "--yes?False"]
    assert given(arguments) == ["backfill", "--reason=a=", "--reason=really?True", "--dry-run"]


@pytest.mark.parametrize("status", [1, 70])
def test_a_failure_may_be_retried(monkeypatch, status):
    monkeypatch.setenv("FAKE_STATUS", str(status))
    with pytest.raises(AirflowException) as caught:
        run_group()
    assert not isinstance(caught.value, AirflowFailException)
    assert "the job's own words" in str(caught.value)


@pytest.mark.parametrize(("status", "why"), [(2, "command line"), (3, "gate or a breaker")])
def test_a_stopped_night_is_not_retried(monkeypatch, status, why):
    monkeypatch.setenv("FAKE_STATUS", str(status))
    with pytest.raises(AirflowFailException, match=why):
        run_group()


def test_a_defined_connection_beats_the_setting(jobs_environment, monkeypatch):
    definition = {"conn_type": "spark", "host": "spark://master", "port": 7077}
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", json.dumps(definition))
    assert ensure_connection(Settings()) == "spark://master"
    run_group()
    argv = json.loads(jobs_environment.read_text())["argv"]
    assert argv[argv.index("--master") + 1] == "spark://master:7077"
    assert not [argument for argument in argv if argument.startswith("spark.driver.bindAddress")]


def test_without_pyspark_the_error_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("MOON_JOBS_ENV", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="make setup"):
        submit_stages("prepare", {}, timedelta(hours=1))


def test_java_of_the_setup_is_used_where_there_is_one():
    java = Path(APPLICATION).parents[1] / ".java"
    expected = str(java) if (java / "bin" / "java").exists() else None
    assert submit_environment(Settings()).get("JAVA_HOME") == expected
