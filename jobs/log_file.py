"""Writes the log file of the `moon` command: its log, tracebacks, and what Spark's JVM and Python workers print.

A person sees one sentence for a failure; all else is in this file (setting ``log``), as text or as one JSON object a
line (setting ``log_format``). A log file that cannot be written ends no run and prints nothing: its place is then a
file in the system's temporary folder, else there is none.
"""

import copy
import logging
import os
import sys
import tempfile
import threading
from collections import deque
from pathlib import Path
from typing import BinaryIO

LOG_FORMAT = "%(asctime)s %(process)d %(levelname)s %(name)s %(message)s"
JSON_FIELDS = ("asctime", "process", "levelname", "name", "message")
OUTPUT_SUFFIX = ".output"
"""End of the name of the file with what Spark prints, where the log file itself is JSON."""
MAX_WAITING = 1000
"""Messages below a warning that are kept until the file is opened."""
MAX_LOG_BYTES = 20 << 20
"""A longer log file is renamed (``.1`` is added, an older one is replaced) before a process starts to write it."""


class ShortFormatter(logging.Formatter):
    """Formats a record without its traceback, for a person."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's text without traceback and stack."""
        short = copy.copy(record)
        short.exc_info = short.exc_text = short.stack_info = None
        return super().format(short)


class LogFile(logging.Handler):
    """The log file of this process; opened by a warning or by `open`, so that a command that only reads makes no file.

    Attributes:
        path: the file that is written; None before it is opened, and where none can be.
        is_used: whether this process is a `moon` command, which writes it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(LOG_FORMAT))
        self.path: Path | None = None
        self.is_used = False
        self._stream: BinaryIO | None = None
        self._is_tried = False
        self._waiting: deque[logging.LogRecord] = deque(maxlen=MAX_WAITING)

    def open(self) -> BinaryIO | None:
        """Return the open file, to which others may append as well; None where none can be opened."""
        if not self._is_tried:
            self._is_tried = True
            named, log_format = find_log_settings()
            if log_format == "json":
                self.setFormatter(_make_json_formatter())
            for path in (named, Path(tempfile.gettempdir()) / f"moon-{os.getuid()}.log"):
                try:
                    self._stream, self.path = _open_for_append(path), path
                    break
                except OSError:
                    continue
            while self._waiting:
                self.emit(self._waiting.popleft())
        return self._stream

    def open_output(self) -> BinaryIO | None:
        """Return the open file for what other processes print: the log file, or one beside it where that is JSON."""
        stream = self.open()
        if stream is None or self.path is None or find_log_settings()[1] == "text":
            return stream
        try:
            return _open_for_append(self.path.with_name(f"{self.path.name}{OUTPUT_SUFFIX}"))
        except OSError:
            return None

    def emit(self, record: logging.LogRecord) -> None:
        """Append a record; a disk that is full loses it."""
        if not self._is_tried and record.levelno < logging.WARNING:
            self._waiting.append(record)
            return
        stream = self.open()
        if stream is None:
            return
        try:
            stream.write(f"{self.format(record)}\n".encode("utf-8", "backslashreplace"))
        except (OSError, ValueError, TypeError):
            return

    def keep_traceback(self, message: str, error: BaseException) -> None:
        """Append a failure with its traceback, to this file alone; nothing outside of a `moon` command."""
        if not self.is_used:
            return
        self.handle(
            logging.LogRecord(
                "jobs.cli", logging.ERROR, __file__, 0, "%s", (message,), (type(error), error, error.__traceback__)
            )
        )


LOG_FILE = LogFile()
"""The log file of this process; in use in a `moon` command (`start_log_file`)."""


def start_log_file() -> LogFile:
    """Return the log file after making it the place of errors in threads and finalizers, which print tracebacks."""

    def keep_thread(given: threading.ExceptHookArgs) -> None:
        if given.exc_value is not None:
            LOG_FILE.keep_traceback(f"in thread {given.thread and given.thread.name}", given.exc_value)

    def keep_unraisable(given: "sys.UnraisableHookArgs") -> None:
        if given.exc_value is not None:
            LOG_FILE.keep_traceback(f"{given.err_msg or 'ignored in'} {given.object!r}", given.exc_value)

    LOG_FILE.is_used = True
    threading.excepthook, sys.unraisablehook = keep_thread, keep_unraisable
    return LOG_FILE


def find_log_settings() -> tuple[Path, str]:
    """Return path and format of the log file by the settings; their defaults where the settings cannot be used."""
    from pydantic import ValidationError  # noqa: PLC0415  (too slow for `moon --help`)

    from jobs.settings import Settings  # noqa: PLC0415

    try:
        settings = Settings()
    except ValidationError:
        return Path(str(Settings.model_fields["log"].default)), "text"
    return Path(settings.log).expanduser(), settings.log_format


def _make_json_formatter() -> logging.Formatter:
    from pythonjsonlogger.json import JsonFormatter  # noqa: PLC0415  (only where JSON is asked for)

    names = {"asctime": "time", "levelname": "level", "name": "logger", "exc_info": "traceback"}
    return JsonFormatter(list(JSON_FIELDS), rename_fields=names, json_ensure_ascii=False)


def _open_for_append(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file() and path.stat().st_size > MAX_LOG_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
    return path.open("ab", buffering=0)
