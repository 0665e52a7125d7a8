"""Tests of the submit task: command line, environment, connection, and retries by exit status."""

import json
import multiprocessing
import os
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from dags.moon_nightly import build_options
from dags.snapshot_date import MACROS
from dags.spark_submit import (
    APPLICATION,
    CONNECTION,
    build_submit_environment,
    build_submit_task,
    drop_empty_options,
    ensure_connection,
    export_settings,
)
from jobs.errors import EXIT_FAULT, EXIT_INPUT, EXIT_TEMPORARY, EXIT_USAGE
from jobs.settings import Settings
from tests.dags.airflow_services import wait_until

RECORDER = """#!{python}
import json, os, sys
json.dump({{"argv": sys.argv[1:], "environment": dict(os.environ)}}, open({record!r}, "w"))
print("2026-01-01 INFO jobs.stages.runner the job's own log")
sys.exit(int(os.environ.get("FAKE_STATUS", "0")))
"""
RUN = SimpleNamespace(logical_date=datetime(2026, 3, 1, 2, tzinfo=UTC), run_after=datetime(2026, 3, 1, 2, tzinfo=UTC))
UNSET = dict.fromkeys(("date", "catalog", "mapping", "allow_deletes", "allow_refusals", "allow_shift", "reason"))


@pytest.fixture(autouse=True)
def jobs_environment(tmp_path, monkeypatch):
    """The path of the file in which the spark-submit of a stand-in for the jobs' environment records its call."""
    environment, record = tmp_path / "jobs-env", tmp_path / "record.json"
    (environment / "lib/python3.11/site-packages/pyspark").mkdir(parents=True)
    (environment / "bin").mkdir()
    submit = environment / "bin" / "spark-submit"
    submit.write_text(RECORDER.format(python=sys.executable, record=str(record)))
    submit.chmod(submit.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("MOON_JOBS_ENV", str(environment))
    monkeypatch.delenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", raising=False)
    return record


def run_task(command="prepare", params=(), **settings):
    """Render and execute a task of the nightly DAG as Airflow would."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        with DAG("commands", user_defined_macros=MACROS) as dag:
            task = build_submit_task(command, build_options(), timedelta(hours=1))
        context = {"params": UNSET | dict(params), "dag_run": RUN}
        task.render_template_fields(context, jinja_env=dag.get_template_env())
        try:
            task.execute(context)
        finally:
            os.environ.pop(f"AIRFLOW_CONN_{CONNECTION.upper()}", None)


def test_the_plain_command_line(jobs_environment):
    run_task()
    argv = json.loads(jobs_environment.read_text())["argv"]
    assert argv[-3:] == [str(APPLICATION), "prepare", "--date=2026-03-01"], "options without a value are left out"
    assert argv[argv.index("--master") + 1] == "local[2]"
    assert argv[argv.index("--name") + 1] == "moon-prepare"
    assert argv[argv.index("--driver-memory") + 1] == Settings().spark_memory
    assert "spark.driver.bindAddress=127.0.0.1" in argv, "a local session listens on the loopback only"
    assert APPLICATION.is_file()


def test_every_parameter_becomes_one_argument(jobs_environment):
    reason = "range cut; rm -rf / $(id) 'quoted' — agreed"
    run_task(
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


def test_the_job_runs_in_the_jobs_environment_with_the_schedulers_settings(jobs_environment, tmp_path):
    run_task(MOON_LAKE=str(tmp_path / "lake"), MOON_ALLOWED_ROOTS='["/data"]')
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
    assert "hunter2" not in json.dumps(export_settings(Settings()))
    assert "hunter2" not in json.dumps(build_submit_environment(Settings()))


def test_a_uri_with_a_password_reaches_the_job_and_not_airflows_pages(jobs_environment, monkeypatch, caplog):
    uri = "http://shop:hunter2@milvus:19530"
    monkeypatch.setenv("MOON_MILVUS", uri)
    with DAG("pages", user_defined_macros=MACROS) as dag:
        task = build_submit_task("prepare", build_options(), timedelta(hours=1))
    task.render_template_fields({"params": UNSET, "dag_run": RUN}, jinja_env=dag.get_template_env())
    assert "hunter2" not in json.dumps({name: getattr(task, name) for name in task.template_fields}, default=str)
    caplog.set_level("DEBUG")
    run_task()
    assert json.loads(jobs_environment.read_text())["environment"]["MOON_MILVUS"] == uri, "inherited from the worker"
    assert "hunter2" not in caplog.text
    monkeypatch.setenv("MOON_MILVUS", "http://milvus:19530")
    assert export_settings(Settings())["MOON_MILVUS"] == "http://milvus:19530"


def test_a_killed_task_ends_what_it_has_submitted(jobs_environment, tmp_path):
    """The task is a process of its own, killed while spark-submit runs."""
    pids = tmp_path / "pid"
    (tmp_path / "jobs-env/bin/spark-submit").write_text(
        f"#!{sys.executable}\nimport os, time\nopen({str(pids)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)\n"
    )
    process = multiprocessing.get_context("fork").Process(target=run_task)
    process.start()
    try:
        submitted = psutil.Process(int(wait_until(lambda: pids.exists() and pids.read_text(), 60, "submit")))
    finally:
        process.kill()
        process.join()
    wait_until(lambda: not submitted.is_running() or submitted.status() == psutil.STATUS_ZOMBIE, 10, "end")


def test_empty_options_and_flags_that_are_off_are_left_out():
    arguments = ["backfill", "--where=", "--reason=a=", "--reason=really?True", "--dry-run?True", "--yes?False"]
    assert drop_empty_options(arguments) == ["backfill", "--reason=a=", "--reason=really?True", "--dry-run"]


@pytest.mark.parametrize("status", [EXIT_FAULT, EXIT_TEMPORARY, 70, 143])
def test_any_other_failure_is_retried(monkeypatch, status):
    monkeypatch.setenv("FAKE_STATUS", str(status))
    with pytest.raises(AirflowException) as caught:
        run_task()
    assert not isinstance(caught.value, AirflowFailException)
    assert "the job's own log" in str(caught.value)


@pytest.mark.parametrize(("status", "why"), [(EXIT_USAGE, "command line"), (EXIT_INPUT, "gate, a breaker")])
def test_a_failure_that_a_retry_cannot_change_is_final(monkeypatch, status, why):
    monkeypatch.setenv("FAKE_STATUS", str(status))
    with pytest.raises(AirflowFailException, match=why):
        run_task()


def test_the_status_of_the_process_decides_not_the_text_of_the_error(monkeypatch):
    monkeypatch.setenv("FAKE_STATUS", str(EXIT_FAULT))
    with pytest.raises(AirflowException, match="Error code is: 3") as caught:
        run_task(params={"reason": f"Error code is: {EXIT_INPUT}"})
    assert not isinstance(caught.value, AirflowFailException)


def test_a_defined_connection_overrides_the_setting(jobs_environment, monkeypatch):
    definition = {"conn_type": "spark", "host": "spark://master", "port": 7077}
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", json.dumps(definition))
    assert ensure_connection(Settings()) == "spark://master"
    run_task()
    argv = json.loads(jobs_environment.read_text())["argv"]
    assert argv[argv.index("--master") + 1] == "spark://master:7077"
    assert not [argument for argument in argv if argument.startswith("spark.driver.bindAddress")]


def test_without_pyspark_the_error_names_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("MOON_JOBS_ENV", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="make setup"):
        build_submit_task("prepare", {}, timedelta(hours=1))


def test_java_of_make_setup_is_used_where_there_is_one():
    java = Path(APPLICATION).parents[1] / ".java"
    expected = str(java) if (java / "bin" / "java").exists() else None
    assert build_submit_environment(Settings()).get("JAVA_HOME") == expected
