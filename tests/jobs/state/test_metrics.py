"""Tests of a run's numbers: the text in the lake and a file, the push gateway, and the example dashboard."""

import json
import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from jobs.lake.store import Lake, open_lake
from jobs.settings import REPOSITORY, Settings
from jobs.state.metrics import GAUGES, METRICS_FOLDER, build_registry, write_metrics
from jobs.state.run_log import make_run_row, record_runs

DATE = "2026-01-04"
Numbers = dict[tuple[str, tuple[str, ...]], float]


def parse(text: str) -> Numbers:
    """Return the samples by name and by the values of their labels besides the alias, in order of the labels' names."""
    return {
        (sample.name, tuple(value for label, value in sample.labels.items() if label != "alias")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def settings(make_settings: Callable[..., Settings], tmp_path: Path) -> Settings:
    return make_settings(metrics_file=str(tmp_path / "collected" / "moon.prom"))


@pytest.fixture
def lake(settings: Settings) -> Lake:
    """A lake with two runs of a date: the first one failed, with a secret in its message."""
    lake = open_lake(settings)
    began = datetime.now(UTC)
    failed = make_run_row("plan", {}, {"error": "token s3cret refused"}, seconds=2, outcome="failed")
    record_runs(lake, DATE, "a", [{**failed, "finished_at": began}])
    return lake


def finish(lake: Lake) -> None:
    encode = make_run_row("encode", {"products": 9, "encoded": 8}, {}, seconds=4)
    report = make_run_row("report", {"delivered": 10, "quarantined": 1}, {"page": "s3cret"}, seconds=1.5)
    later = datetime.now(UTC) + timedelta(seconds=1)
    record_runs(lake, DATE, "b", [encode, {**report, "finished_at": later}])


def test_numbers_of_a_good_run(lake: Lake, settings: Settings, tmp_path: Path) -> None:
    finish(lake)
    write_metrics(lake, settings, DATE)
    text = Path(settings.lake, METRICS_FOLDER, DATE, "b.txt").read_text()
    assert (tmp_path / "collected" / "moon.prom").read_text() == text
    assert [file.name for file in (tmp_path / "collected").iterdir()] == ["moon.prom"]
    numbers = parse(text)
    assert numbers["moon_run_success", ()] == 1 and numbers["moon_run_seconds", ()] == 5.5
    assert numbers["moon_run_rows", ("quarantined",)] == 1
    assert numbers["moon_stage_seconds", ("encode",)] == 4
    assert numbers["moon_stage_items", ("encoded", "encode")] == 8
    assert numbers["moon_snapshot_timestamp_seconds", ()] == datetime(2026, 1, 4, tzinfo=UTC).timestamp()
    assert "s3cret" not in text


def test_numbers_of_a_failed_run(lake: Lake, settings: Settings) -> None:
    write_metrics(lake, settings, DATE)
    text = Path(settings.lake, METRICS_FOLDER, DATE, "a.txt").read_text()
    assert parse(text)["moon_run_success", ()] == 0 and parse(text)["moon_stage_success", ("plan",)] == 0
    assert "s3cret" not in text


def test_a_run_that_left_no_record_writes_nothing(settings: Settings) -> None:
    write_metrics(open_lake(settings), settings, DATE)
    assert not Path(settings.lake).exists()


def test_the_push_gateway(lake: Lake, settings: Settings) -> None:
    taken: list[tuple[str, str]] = []

    class Gateway(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            taken.append((self.path, self.rfile.read(int(self.headers["Content-Length"])).decode()))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    Thread(target=server.serve_forever, daemon=True).start()
    write_metrics(lake, settings.replace(metrics_gateway=f"http://127.0.0.1:{server.server_port}"), DATE)
    server.shutdown()
    ((path, text),) = taken
    assert path == f"/metrics/job/moon/alias/{settings.alias}" and "moon_run_success" in text


def test_no_place_that_fails_ends_the_run(
    lake: Lake, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    write_metrics(lake, settings.replace(metrics_gateway="http://user:s3cret@127.0.0.1:1"), DATE)
    (tmp_path / "file").write_text("x")
    write_metrics(lake, settings.replace(metrics_file=str(tmp_path / "file" / "moon.prom")), DATE)
    assert "did not take" in caplog.text and "could not be written" in caplog.text
    assert "s3cret" not in caplog.text


def test_the_dashboard_names_only_metrics_and_labels_that_exist() -> None:
    board = json.loads((REPOSITORY / "docs" / "grafana_dashboard.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    queries += [one["query"] for one in board["templating"]["list"]]
    used = {name for query in queries for name in re.findall(r"moon_[a-z_]+", query)}
    assert used == set(GAUGES), "each metric is shown"
    for query in queries:
        for name, labels in re.findall(r"(moon_[a-z_]+)\{([^}]*)\}", query):
            assert set(re.findall(r"([a-z]+)=", labels)) <= {"alias", *GAUGES[name][1]}
    row = {**make_run_row("plan", {"a": 1}, {}), "run_id": "r"}
    assert {family.name for family in build_registry([row], "products", DATE).collect()} == set(GAUGES)
