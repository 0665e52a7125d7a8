"""The failure callback, against a webhook that really listens."""

import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest

from dags.failure import CONNECTION, failure_notice, post, report_failure, webhook_url


@pytest.fixture
def context():
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    return {
        "task_instance": SimpleNamespace(dag_id="moon_nightly", task_id="infer", try_number=3, log_url="http://log"),
        "dag_run": SimpleNamespace(run_id="scheduled__1", logical_date=None, run_after=moment),
        "params": {"date": None},
        "exception": RuntimeError("Error code is: 1. " + "x" * 5000),
    }


@pytest.fixture
def webhook(monkeypatch):
    """A webhook on the loopback; returns the list of requests it got."""
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.headers.get("Authorization"), json.loads(body)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments):
            """Keep the test's output clean."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    definition = {
        "conn_type": "http",
        "host": "127.0.0.1",
        "schema": "http",
        "port": server.server_port,
        "password": "t",
    }
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", json.dumps(definition))
    yield received
    server.shutdown()


def test_the_notice_says_which_night_and_where_to_look(context):
    notice = failure_notice(context)
    assert notice["date"] == "2026-03-01"
    assert (notice["dag"], notice["task"], notice["tries"]) == ("moon_nightly", "infer", 3)
    assert notice["error"].startswith("Error code is: 1")
    assert len(notice["error"]) == 2000
    assert notice["log"] == "http://log"


def test_the_webhook_gets_the_notice_with_its_token(context, webhook):
    report_failure(context)
    ((authorization, notice),) = webhook
    assert authorization == "Bearer t"
    assert notice == failure_notice(context)


def test_without_a_webhook_the_log_has_it(context, caplog, monkeypatch):
    monkeypatch.delenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", raising=False)
    report_failure(context)
    assert "Night 2026-03-01 failed in infer" in caplog.text


@pytest.mark.parametrize(
    ("connection", "url"),
    [
        ({"host": "alerts.example", "schema": None, "port": None}, "https://alerts.example"),
        ({"host": "http://alerts.example/moon", "schema": None, "port": None}, "http://alerts.example/moon"),
        ({"host": "alerts.example", "schema": "http", "port": 8080}, "http://alerts.example:8080"),
    ],
)
def test_url_of_a_connection(connection, url):
    assert webhook_url(SimpleNamespace(**connection)) == url


def test_only_http_is_posted_to():
    with pytest.raises(ValueError, match="no http"):
        post("file:///etc/passwd", None, {})
