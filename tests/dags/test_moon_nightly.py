"""Tests of the nightly DAG as Airflow parses it."""

import datetime
import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bag() -> DagBag:
    return DagBag(dag_folder=str(REPOSITORY / "dags"), bundle_path=REPOSITORY / "dags", bundle_name="dags-folder")


@pytest.fixture(scope="module")
def dag(bag: DagBag) -> DAG:
    return bag.dags["moon_nightly"]


def test_every_dag_file_imports_and_helpers_are_not_parsed(bag):
    assert bag.import_errors == {}
    files = {Path(stat.file).name for stat in bag.dagbag_stats}
    assert files == {"moon_nightly.py", "moon_backfill.py", "moon_rollout.py"}
    assert all(name.startswith("moon_") for name in files), "helpers belong into dags/.airflowignore"


def test_every_task_has_retries_timeout_and_a_failure_callback(bag):
    for dag in bag.dags.values():
        for task in dag.tasks:
            assert task.retries >= 1, task.task_id
            # An approval waits after its task has ended: response_timeout is its limit.
            assert (task.execution_timeout or task.response_timeout) is not None, task.task_id
            assert task.on_failure_callback, task.task_id


def test_parsing_imports_neither_spark_nor_torch_and_little_of_jobs():
    code = "import json, sys, dags.moon_nightly; print(json.dumps(sorted(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    modules = set(json.loads(answer.stdout.splitlines()[-1]))
    assert not modules & {"pyspark", "torch", "deltalake", "pymilvus"}
    of_jobs = {name for name in modules if name.startswith("jobs.")}
    light = {"jobs.errors", "jobs.log_file", "jobs.parent_process", "jobs.settings"}
    assert of_jobs == {*light, "jobs.spark", "jobs.spark.session"}


def test_order_pool_and_limits(dag):
    assert [task.task_id for task in dag.topological_sort()] == ["prepare", "infer", "serve", "report"]
    assert dag.get_task("infer").pool == "moon_gpu"
    assert dag.max_active_runs == 1
    assert not dag.catchup
    pools = json.loads((REPOSITORY / "dags" / "pools.json").read_text())
    assert {task.pool for task in dag.tasks} <= {"default_pool", *pools}


def test_a_late_run_raises_an_alert(dag):
    from dags.deadline import report_late

    (alert,) = dag.deadline
    assert alert.reference.reference_name == "DagRunQueuedAtDeadline"
    assert datetime.timedelta(hours=1) < alert.interval < dag.dagrun_timeout
    assert alert.callback.path == f"dags.deadline.{report_late.__name__}"


def test_only_serve_publishes_the_asset(dag):
    from dags.moon_nightly import PUBLISHED

    outlets = {task.task_id: [asset.name for asset in task.outlets] for task in dag.tasks}
    assert outlets == {"prepare": [], "infer": [], "serve": [PUBLISHED.name], "report": []}


def test_the_report_is_written_after_every_run_and_does_not_decide_on_it(dag):
    report = dag.get_task("report")
    assert report.trigger_rule == "all_done"
    assert report.is_teardown and not report.on_failure_fail_dagrun
    assert report.upstream_task_ids == {"serve"} and not report.downstream_task_ids
    assert "--ended?True" in report.application_args


@pytest.mark.parametrize(
    "name", ["date", "catalog", "mapping", "allow_deletes", "allow_refusals", "allow_shift", "reason"]
)
def test_every_parameter_has_a_valid_schema_and_a_description(dag, name):
    param = dag.params.get_param(name)
    jsonschema.Draft202012Validator.check_schema(param.schema)
    assert len(param.description) > 20
    param.resolve()  # the default is valid by its own schema


@pytest.mark.parametrize(
    ("name", "value"),
    [("date", "yesterday"), ("date", "2026-02-30"), ("allow_deletes", 1.5), ("allow_deletes", "all"), ("reason", 3)],
)
def test_a_bad_parameter_is_refused(dag, name, value):
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError):
        dag.params.get_param(name).resolve(value)


def test_the_schedule_is_in_the_shops_time_zone_across_a_clock_change(monkeypatch):
    import pendulum
    from airflow.sdk import CronTriggerTimetable
    from airflow.serialization.encoders import coerce_to_core_timetable
    from airflow.timetables.base import DataInterval, TimeRestriction

    from dags.moon_nightly import SETTINGS

    timetable = coerce_to_core_timetable(CronTriggerTimetable(SETTINGS.schedule, timezone="America/New_York"))
    last = pendulum.datetime(2026, 3, 7, 7, tz="UTC")  # 02:00 in New York, the day before the clocks change
    restriction = TimeRestriction(earliest=pendulum.datetime(2026, 1, 1), latest=None, catchup=True)
    following = timetable.next_dagrun_info(
        last_automated_data_interval=DataInterval.exact(last), restriction=restriction
    )
    assert following.run_after - last < datetime.timedelta(hours=25)
    assert following.run_after.in_timezone("America/New_York").date() == datetime.date(2026, 3, 8)


def test_it_can_be_serialised(dag):
    from airflow.serialization.serialized_objects import DagSerialization

    text = json.dumps(DagSerialization.to_dict(dag))
    assert DagSerialization.from_dict(json.loads(text)).task_dict.keys() == dag.task_dict.keys()
