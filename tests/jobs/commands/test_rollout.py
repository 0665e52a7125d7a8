"""Tests of ``moon rollout`` on the command line; ``tests/jobs/operations/test_rollout.py`` tests the operation."""

from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.operations import rollout as work
from jobs.operations.rollout import ROLLOUT_ALREADY_SERVED, ROLLOUT_PREPARED, ROLLOUT_SWITCHED, RolloutPreview

REPOSITORY = Path(__file__).resolve().parents[3]
ROWS = {"served": 4, "ready": 3, "missing": 1}


@pytest.fixture
def done(monkeypatch, tmp_path) -> list[str]:
    """Records the operations that the command calls, on a lake of the test and without Spark."""
    steps: list[str] = []

    @contextmanager
    def no_spark(*_):
        yield None

    model = SimpleNamespace(collection="moon_new", model_version="b" * 64, uri="models/next")
    ours = SimpleNamespace(served="moon_old", model=model, is_done=False, context=None)
    monkeypatch.setattr("jobs.spark.session.open_spark_session", no_spark)
    monkeypatch.setattr(
        work, "begin_rollout", lambda context, folder, reason: steps.append(f"begin {folder} {reason}") or ours
    )
    monkeypatch.setattr(
        work, "prepare_rollout", lambda *_, **__: steps.append("prepare") or RolloutPreview("2026-11-22", ROWS)
    )
    monkeypatch.setattr(work, "switch_rollout", lambda *_: steps.append("switch"))
    monkeypatch.setenv("MOON_LAKE", str(tmp_path))
    monkeypatch.delenv("MOON_MODEL", raising=False)
    return steps


def moon(*arguments: str):
    return CliRunner().invoke(app, ["rollout", *arguments], env={"COLUMNS": "200"})


def test_it_explains_itself():
    shown = " ".join(moon("--help").stdout.split())
    wanted = ("--model", "--approve", "--yes", "--reason", "--allow-deletes", "moon rollback", "Interrupted")
    assert [word for word in wanted if word not in shown] == []
    assert moon("--approve").exit_code == 2


@pytest.mark.parametrize(
    ("options", "steps", "says"),
    [
        ([], ["prepare"], "--approve"),
        (["--yes"], ["prepare", "switch"], "moon_new, model bbbb"),
        (["--approve"], ["switch"], "moon_new, model bbbb"),
    ],
)
def test_nobody_switches_unless_told(done, options, steps, says):
    answer = moon("--model", "models/next", "--reason", "shoes", *options)
    assert answer.exit_code == 0, answer.exception
    assert done == ["begin models/next shoes", *steps]
    assert says in answer.stdout


@pytest.mark.parametrize(
    ("options", "state"), [([], ROLLOUT_PREPARED), (["--yes"], ROLLOUT_SWITCHED), (["--approve"], ROLLOUT_SWITCHED)]
)
def test_json_tells_the_state(done, options, state):
    import json

    answer = moon("--model", "models/next", "--json", *options)
    document = json.loads(answer.stdout)
    assert (document["state"], document["before"], document["after"]) == (state, "moon_old", "moon_new")


def test_a_model_that_serves_already_is_left_alone(done, monkeypatch):
    begun = work.begin_rollout

    def begin(*arguments):
        return SimpleNamespace(**vars(begun(*arguments)) | {"is_done": True})

    monkeypatch.setattr(work, "begin_rollout", begin)
    answer = moon("--model", "models/next", "--yes", "--json")
    assert f'"state": "{ROLLOUT_ALREADY_SERVED}"' in answer.stdout
    assert done == ["begin models/next "]


def test_a_setting_that_would_stop_the_next_night_is_named(done, monkeypatch):
    old = str(REPOSITORY / "checkpoints" / "moon-tiny")
    monkeypatch.setenv("MOON_MODEL", old)
    assert f"MOON_MODEL names {old}" in moon("--model", "models/next", "--yes").stdout.replace("\n", "")


def test_what_does_not_go_together(done):
    assert moon("--model", "m", "--yes", "--approve").exit_code == 2
    assert "add --reason" in str(moon("--model", "m", "--allow-deletes", "0.5").exception)
    assert done == []
