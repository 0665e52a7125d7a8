"""Tests of the backfill DAG as Airflow parses it, and of the command line that it builds."""

import json
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.exceptions import ParamValidationError

from dags.spark_submit import drop_empty_options

REPOSITORY = Path(__file__).resolve().parents[2]
RANGE = {"from": "2026-03-01", "to": "2026-03-04"}


@pytest.fixture(scope="module")
def bag() -> DagBag:
    return DagBag(dag_folder=str(REPOSITORY / "dags"), bundle_path=REPOSITORY / "dags", bundle_name="dags-folder")


@pytest.fixture(scope="module")
def dag(bag):
    return bag.dags["moon_backfill"]


def render_command_line(dag, **values):
    """The task's arguments, rendered as Airflow would with these parameters."""
    params = {name: dag.params.get_param(name).value for name in dag.params if name not in RANGE} | RANGE | values
    (task,) = dag.tasks
    copy = task.prepare_for_execution()
    copy.render_template_fields({"params": params, "dag_run": SimpleNamespace()}, jinja_env=dag.get_template_env())
    return drop_empty_options(copy.application_args)


def test_it_is_one_task_without_schedule_in_the_pool_of_long_work(bag, dag):
    assert bag.import_errors == {}
    assert dag.schedule is None
    assert dag.max_active_runs == 1
    (task,) = dag.tasks
    assert (task.task_id, task.pool) == ("backfill", "moon_beside")
    assert task.retries >= 1 and task.execution_timeout and task.on_failure_callback


def test_no_dag_is_registered_by_two_files(bag):
    files = {dag.dag_id: Path(dag.fileloc).name for dag in bag.dags.values()}
    assert files["moon_backfill"] == "moon_backfill.py"
    assert files["moon_nightly"] == "moon_nightly.py"
    assert sum(stat.dag_num for stat in bag.dagbag_stats) == len(bag.dags)


def test_a_dry_run_is_the_default(dag):
    assert render_command_line(dag) == ["backfill", "--from=2026-03-01", "--to=2026-03-04", "--dry-run"]


def test_every_parameter_becomes_an_option(dag):
    where = 'category_1 == "Shoes; rm -rf /" and images >= 2'
    arguments = render_command_line(
        dag, model="/models/next", where=where, dry_run=False, approved=True, catalog="/data/{date}.csv",
        mapping="shop.toml", allow_deletes=0.25, allow_refusals=0, allow_shift=1, reason="range cut", scratch=7,
    )  # fmt: skip
    assert set(arguments) == {
        "backfill", "--from=2026-03-01", "--to=2026-03-04", "--model=/models/next", f"--where={where}", "--yes",
        "--catalog=/data/{date}.csv", "--mapping=shop.toml", "--allow-deletes=0.25", "--allow-refusals=0",
        "--allow-shift=1", "--reason=range cut", "--scratch=7",
    }  # fmt: skip


def test_every_parameter_has_a_valid_schema_and_a_description(dag):
    for name in dag.params:
        param = dag.params.get_param(name)
        jsonschema.Draft202012Validator.check_schema(param.schema)
        assert len(param.description) > 20


@pytest.mark.parametrize(
    ("name", "value"),
    [("from", "yesterday"), ("to", None), ("dry_run", "no"), ("approved", 1), ("where", "x" * 3000), ("scratch", 0)],
)
def test_a_bad_parameter_is_refused(dag, name, value):
    with pytest.raises(ParamValidationError):
        dag.params.get_param(name).resolve(value)


def test_a_range_is_required(dag):
    for name in RANGE:
        with pytest.raises(ParamValidationError):
            dag.params.get_param(name).resolve()


def test_it_can_be_serialised(dag):
    from airflow.serialization.serialized_objects import DagSerialization

    text = json.dumps(DagSerialization.to_dict(dag))
    assert DagSerialization.from_dict(json.loads(text)).task_dict.keys() == dag.task_dict.keys()
