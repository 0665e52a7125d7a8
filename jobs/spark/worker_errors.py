"""Which exception ended a Spark task: the only place that reads how Spark reports an error of a Python worker."""

from pyspark.errors import PythonException

TRACEBACK_START = "Traceback (most recent call last):\n"


def is_worker_error(error: PythonException, kind: type[Exception]) -> bool:
    """Return whether the exception that ended a task is of exactly this class.

    Spark passes a worker's exception to the driver only as a formatted traceback (message parameter ``traceback`` of
    the condition PYTHON_EXCEPTION, pyspark 4.3.0). The class is the first word of its first line that is not indented.
    """
    traceback = (error.getMessageParameters() or {}).get("traceback", "")
    # The traceback that was raised is the last one: those of its causes come before it.
    lines = traceback.rpartition(TRACEBACK_START)[2].splitlines()
    name = next((line.partition(":")[0] for line in lines if line and not line.startswith(" ")), "")
    return name == f"{kind.__module__}.{kind.__qualname__}"
