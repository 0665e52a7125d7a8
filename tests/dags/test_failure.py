"""Tests of the failure callback, with a real webhook on the loopback interface."""

import json
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from dags.alerts import CONNECTION
from dags.failure import build_failure_notice, report_failure
from tests.dags.listeners import webhook


@pytest.fixture
def context():
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    return {
        "task_instance": SimpleNamespace(dag_id="moon_nightly", task_id="infer", try_number=3, log_url="http://log"),
        "dag_run": SimpleNamespace(run_id="scheduled__1", logical_date=None, run_after=moment),
        "params": {"date": None},
        "exception": RuntimeError("Error code is: 1. " + "x" * 5000),
    }


def test_the_notice_names_run_task_error_and_log(context):
    notice = build_failure_notice(context)
    assert notice["date"] == "2026-03-01"
    assert (notice["dag"], notice["task"], notice["tries"]) == ("moon_nightly", "infer", 3)
    assert notice["error"].startswith("Error code is: 1")
    assert len(notice["error"]) == 2000
    assert notice["log"] == "http://log"


def test_the_webhook_gets_the_notice(context, monkeypatch):
    with webhook() as (port, received):
        definition = {"conn_type": "http", "host": "127.0.0.1", "schema": "http", "port": port, "password": "t"}
        monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", json.dumps(definition))
        report_failure(context)
    assert received == [("Bearer t", build_failure_notice(context))]


def test_without_a_connection_the_failure_is_logged(context, caplog, monkeypatch):
    monkeypatch.delenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", raising=False)
    report_failure(context)
    assert "moon_nightly of 2026-03-01 failed in infer" in caplog.text
