"""Tests of the command line with real processes and real messages."""

import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from jobs.cli import main, start_logging
from jobs.errors import EXIT_INTERRUPTED, EXIT_USAGE, NightStoppedError
from jobs.log_file import LogFile

VERBS = [
    "nightly",
    "prepare",
    "infer",
    "serve",
    "pull",
    "validate",
    "fetch",
    "plan",
    "detect",
    "encode",
    "upsert",
    "publish",
]


def moon(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobs.cli", *arguments],
        capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **environment},
    )  # fmt: skip


def test_help_names_every_verb() -> None:
    shown = moon("--help").stdout
    wanted = [
        *VERBS,
        "report",
        "status",
        "search",
        "export",
        "maintain",
        "demo-catalog",
        "check-source",
        "backfill",
        "compare",
    ]
    assert [verb for verb in wanted if verb not in shown] == []


def test_help_loads_nothing_heavy() -> None:
    code = "import sys, jobs.cli; print([m for m in ('pyspark', 'torch', 'pymilvus', 'pandas') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize("verb", VERBS)
def test_every_stage_explains_itself(verb: str) -> None:
    from typer.testing import CliRunner

    from jobs.cli import app

    result = CliRunner().invoke(app, [verb, "--help"])
    assert result.exit_code == 0
    assert "--date" in result.stdout


def test_an_expected_failure_is_one_message_and_its_exit_code() -> None:
    done = moon("plan", "--allow-deletes", "0.5")
    assert done.returncode == EXIT_USAGE
    assert "add --reason TEXT" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_wrong_date_is_a_usage_error() -> None:
    done = moon("nightly", "--date", "22.11.2026")
    assert done.returncode == 2
    assert "write it as 2026-11-22" in done.stderr


@pytest.mark.parametrize("text", ["[abc] is a folder", "a [/b] closes nothing", ":smile: is no picture"])
def test_a_message_is_never_markup_and_keeps_its_exit_code(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise NightStoppedError(text)

    monkeypatch.setattr("jobs.cli.app", fail)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == NightStoppedError.exit_status == 3
    assert capsys.readouterr().err == f"moon: {text}\n"


def test_ctrl_c_is_one_message_with_the_way_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from typer import Typer

    app = Typer()

    @app.command()
    def work() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("jobs.cli.app", app)
    monkeypatch.setattr(sys, "argv", ["moon"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == EXIT_INTERRUPTED
    shown = capsys.readouterr().err
    assert shown.startswith("moon: interrupted") and shown.count("\n") == 1


def test_a_setting_that_cannot_be_used_is_named_without_its_value() -> None:
    done = moon("status", MOON_RETENTION_DAYS="s3cret")
    assert done.returncode == EXIT_USAGE
    assert "MOON_RETENTION_DAYS" in done.stderr
    assert "s3cret" not in done.stderr and "Traceback" not in done.stderr


def test_the_screen_has_our_messages_and_the_file_those_of_libraries_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("MOON_LOG", str(tmp_path / "moon.log"))
    monkeypatch.setattr("jobs.log_file.LOG_FILE", LogFile())
    logging.captureWarnings(capture=False)  # of an earlier test, which pytest has undone in part
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        log_file = start_logging()
        logging.getLogger("jobs.stages.runner").info("plan begins")
        logging.getLogger("great_expectations.core").warning("a warning of a library")
        warnings.warn("a warning of Python", UserWarning, stacklevel=1)
        logging.getLogger("py4j.java_gateway").error("failed", exc_info=ValueError("x"))
    finally:
        logging.captureWarnings(capture=False)
        root.handlers, root.level = before
    shown = capsys.readouterr().err
    assert "plan begins" in shown and shown.count("\n") == 1
    assert log_file.path is not None
    kept = log_file.path.read_text()
    assert all(text in kept for text in ("plan begins", "of a library", "of Python", "ValueError: x"))
