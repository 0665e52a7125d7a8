"""Tests of the rollout DAG as Airflow parses it: its approval, and the command lines that it builds."""

import json
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.exceptions import ParamValidationError

from dags.moon_rollout import APPROVAL_TIMEOUT
from dags.spark_submit import drop_empty_options

REPOSITORY = Path(__file__).resolve().parents[2]
PARAMS = {"model": "/models/next; rm -rf /", "reason": "better [on] shoes"}


@pytest.fixture(scope="module")
def dag():
    bag = DagBag(dag_folder=str(REPOSITORY / "dags"), bundle_path=REPOSITORY / "dags", bundle_name="dags-folder")
    assert bag.import_errors == {}
    return bag.dags["moon_rollout"]


def render_task(dag, name, **more):
    task = dag.get_task(name).prepare_for_execution()
    params = dict.fromkeys(dag.params) | PARAMS | more
    task.render_template_fields({"params": params, "dag_run": SimpleNamespace()}, jinja_env=dag.get_template_env())
    return task


def test_switch_runs_only_after_an_approval(dag):
    assert [task.task_id for task in dag.topological_sort()] == ["prepare", "approve", "switch"]
    assert dag.schedule is None
    assert dag.max_active_runs == 1
    assert dag.get_task("switch").trigger_rule == "all_success"


def test_only_switch_passes_approve(dag):
    stated = ["rollout", "--model=/models/next; rm -rf /", "--reason=better [on] shoes"]
    assert drop_empty_options(render_task(dag, "prepare").application_args) == stated
    assert drop_empty_options(render_task(dag, "switch").application_args) == [*stated, "--approve"]
    lifted = drop_empty_options(render_task(dag, "switch", allow_deletes=0.2, catalog="/data/{date}").application_args)
    assert lifted == [*stated, "--catalog=/data/{date}", "--allow-deletes=0.2", "--approve"]


def test_the_approval_names_model_and_reason_and_is_rejected_by_default(dag):
    task = render_task(dag, "approve")
    assert PARAMS["model"] in task.subject
    assert PARAMS["reason"] in task.body
    assert task.options == ["Approve", "Reject"]
    assert task.defaults == ["Reject"]
    assert task.response_timeout == APPROVAL_TIMEOUT


def test_both_submits_are_in_the_pool_of_long_work(dag):
    assert {dag.get_task(name).pool for name in ("prepare", "switch")} == {"moon_beside"}
    assert "moon_beside" in json.loads((REPOSITORY / "dags" / "pools.json").read_text())


@pytest.mark.parametrize("name", PARAMS)
def test_model_and_reason_are_required_and_described(dag, name):
    param = dag.params.get_param(name)
    jsonschema.Draft202012Validator.check_schema(param.schema)
    assert len(param.description) > 20
    for bad in ("", None, 3):
        with pytest.raises(ParamValidationError):
            param.resolve(bad)
    assert param.resolve(PARAMS[name]) == PARAMS[name]


def test_it_can_be_serialised(dag):
    from airflow.serialization.serialized_objects import DagSerialization

    text = json.dumps(DagSerialization.to_dict(dag))
    assert DagSerialization.from_dict(json.loads(text)).task_dict.keys() == dag.task_dict.keys()
