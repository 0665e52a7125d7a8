"""Summarises failures of Spark; the only place that parses Spark's report of a Python worker error."""

import re

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException, PythonException

TERMINAL_CODE = re.compile(r"\x1b\[[0-9;]*m")
"""Colours, which delta-rs has in its messages (1.6.6)."""

MAX_SUMMARY = 300
"""Characters of the summary of a failure."""

JAVA_CAUSES = 20
"""Causes of a Java exception that are followed; more would be a loop."""

TRACEBACK_START = "Traceback (most recent call last):\n"


def is_worker_error(error: PythonException, kind: type[Exception]) -> bool:
    """Return whether the exception that ended a task is of exactly this class.

    Spark passes a worker's exception to the driver only as a formatted traceback (message parameter ``traceback`` of
    the condition PYTHON_EXCEPTION, pyspark 4.3.0). The class is the first word of its first line that is not indented.
    """
    return read_worker_class(error) == f"{kind.__module__}.{kind.__qualname__}"


def read_worker_message(error: PythonException) -> str:
    """Return the message of the exception that ended a task, its first line."""
    return _read_last_line(error).partition(": ")[2]


def read_worker_class(error: PythonException) -> str:
    """Return the name of the class of the exception that ended a task; a builtin's has no module."""
    return _read_last_line(error).partition(":")[0]


def summarise_failure(error: BaseException) -> str:
    """Return class and message of a failure in one line, without a traceback; of a Spark task what ended the task."""
    if isinstance(error, PythonException) and (line := _read_last_line(error)):
        return _shorten(line)
    if isinstance(error, PySparkException | Py4JJavaError):
        return _shorten(describe_java_error(error))
    text = str(error).strip()
    return _shorten(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def _shorten(text: str) -> str:
    return " ".join(TERMINAL_CODE.sub("", text).split())[:MAX_SUMMARY]


def describe_java_error(error: Exception) -> str:
    """Return the first line of a Java exception's message, and that of its deepest cause if it says more."""
    java = getattr(error, "_origin", None) or getattr(error, "java_exception", None)
    messages = [str(error) if java is None else str(java.getMessage() or java)]
    for _ in range(JAVA_CAUSES):
        java = java.getCause() if java is not None else None
        if java is None:
            break
        messages.append(str(java.getMessage() or java.getClass().getSimpleName()))
    first, last = (message.strip().splitlines()[0] for message in (messages[0], messages[-1]))
    return first if last in first else f"{first} ({last})"


def _read_last_line(error: PythonException) -> str:
    """Return class and message of the exception that was raised."""
    traceback = (error.getMessageParameters() or {}).get("traceback", "")
    # The traceback that was raised is the last one: those of its causes come before it.
    lines = traceback.rpartition(TRACEBACK_START)[2].splitlines()
    return next((line for line in lines if line and not line.startswith(" ")), "")
