"""Tests of the log file: tracebacks only there, lazily made, renamed when long, and harmless where it cannot be."""

import json
import logging
from pathlib import Path

import pytest

from jobs.log_file import MAX_LOG_BYTES, LogFile, ShortFormatter, find_log_settings


@pytest.fixture
def log_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LogFile:
    monkeypatch.setenv("MOON_LOG", str(tmp_path / "logs" / "moon.log"))
    made = LogFile()
    made.is_used = True
    return made


def make_error() -> ValueError:
    try:
        raise ValueError("a broken part")
    except ValueError as error:
        return error


def test_the_file_has_the_traceback_and_the_terminal_does_not(log_file: LogFile) -> None:
    record = logging.LogRecord("jobs", logging.WARNING, __file__, 1, "failed", (), None)
    error = make_error()
    record.exc_info = (type(error), error, error.__traceback__)
    log_file.handle(record)
    assert log_file.path is not None
    assert "Traceback" in log_file.path.read_text() and "a broken part" in log_file.path.read_text()
    assert ShortFormatter("%(message)s").format(record) == "failed"


def test_a_command_without_log_makes_no_file(log_file: LogFile, tmp_path: Path) -> None:
    assert log_file.path is None
    assert not (tmp_path / "logs").exists()


def test_outside_of_a_command_nothing_is_kept(log_file: LogFile) -> None:
    log_file.is_used = False
    log_file.keep_traceback("failed", make_error())
    assert log_file.path is None


def test_a_long_file_is_renamed(log_file: LogFile, tmp_path: Path) -> None:
    path = tmp_path / "logs" / "moon.log"
    path.parent.mkdir()
    with path.open("wb") as stream:
        stream.truncate(MAX_LOG_BYTES + 1)
    log_file.keep_traceback("failed", make_error())
    assert path.stat().st_size < 1000
    assert path.with_name("moon.log.1").stat().st_size == MAX_LOG_BYTES + 1


def test_a_full_disk_loses_the_log_and_prints_nothing(
    log_file: LogFile, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOON_LOG", "/dev/full")
    log_file.keep_traceback("failed", make_error())
    assert capsys.readouterr().err == ""


def test_where_the_folder_cannot_be_made_the_temporary_one_is_used(
    log_file: LogFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MOON_LOG", str(tmp_path / "file" / "moon.log"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    log_file.keep_traceback("failed", make_error())
    assert log_file.path is not None and log_file.path.parent == tmp_path


def test_the_default_is_used_where_settings_are_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOON_LOG", raising=False)
    monkeypatch.setenv("MOON_MAX_DELETE", "1")
    assert find_log_settings()[0].parts[-3:] == ("var", "log", "moon.log")


def test_json_is_one_object_a_line_with_the_traceback_in_it(
    log_file: LogFile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MOON_LOG_FORMAT", "json")
    log_file.handle(logging.LogRecord("jobs.x", logging.INFO, __file__, 1, "%s begins", ("pull",), None))
    log_file.keep_traceback("größe\nfailed", make_error())
    assert log_file.path is not None
    first, second = map(json.loads, log_file.path.read_text().splitlines())
    assert (first["message"], first["level"], first["logger"]) == ("pull begins", "INFO", "jobs.x")
    assert second["message"] == "größe\nfailed" and "a broken part" in second["traceback"]
    output = log_file.open_output()
    assert output is not None and output.name == str(tmp_path / "logs" / "moon.log.output")
    output.close()


def test_a_message_below_a_warning_waits_until_the_file_is_opened(log_file: LogFile, tmp_path: Path) -> None:
    log_file.handle(logging.LogRecord("jobs.x", logging.INFO, __file__, 1, "early", (), None))
    assert not (tmp_path / "logs").exists()
    assert log_file.open() is log_file.open_output()
    assert log_file.path is not None and "early" in log_file.path.read_text()
