"""Tests of the alert about a late run, called as the triggerer calls it."""

import asyncio
import json
from datetime import timedelta

from dags.alerts import CONNECTION
from dags.deadline import build_deadline_alert, build_late_notice, report_late
from tests.dags.listeners import webhook

CONTEXT = {
    "dag_run": {"dag_id": "moon_nightly", "dag_run_id": "scheduled__1", "state": "running", "queued_at": "02:00"},
    "deadline": {"id": "1", "deadline_time": "2026-03-01T10:00:00+00:00"},
}


def test_the_deadline_is_a_setting(monkeypatch):
    monkeypatch.setenv("MOON_DEADLINE_HOURS", "2.5")
    assert build_deadline_alert().interval == timedelta(hours=2.5)
    monkeypatch.setenv("MOON_DEADLINE_HOURS", "0")
    assert build_deadline_alert() is None


def test_the_notice_names_run_and_deadline():
    notice = build_late_notice(CONTEXT)
    assert (notice["event"], notice["dag"], notice["run_id"]) == ("moon_run_late", "moon_nightly", "scheduled__1")
    assert notice["deadline"] == "2026-03-01T10:00:00+00:00"


def test_the_webhook_gets_the_notice(monkeypatch):
    with webhook() as (port, received):
        definition = {"conn_type": "http", "host": "127.0.0.1", "schema": "http", "port": port}
        monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", json.dumps(definition))
        assert asyncio.run(report_late(CONTEXT)) is None  # anything else ends Airflow's triggerer
    assert received == [(None, build_late_notice(CONTEXT))]


def test_without_a_connection_the_late_run_is_logged(monkeypatch, caplog):
    monkeypatch.delenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", raising=False)
    asyncio.run(report_late(CONTEXT))
    assert "scheduled__1 is late" in caplog.text
