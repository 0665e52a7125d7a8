"""Reports a task that has failed and will not be retried: an error in the task's log and an alert."""

import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseHook, Context
from airflow.sdk.exceptions import AirflowNotFoundException

from dags.alerts import CONNECTION, send_alert
from dags.snapshot_date import compute_snapshot_date

log = logging.getLogger(__name__)


def build_failure_notice(context: Context) -> dict[str, Any]:
    """Return the alert about a failed task: its run and snapshot date, the error, and the URL of the log."""
    task_instance = context["task_instance"]
    dag_run = context["dag_run"]
    return {
        "event": "moon_task_failed",
        "dag": task_instance.dag_id,
        "task": task_instance.task_id,
        "run_id": dag_run.run_id,
        "date": compute_snapshot_date(context["params"], dag_run),
        "tries": task_instance.try_number,
        "error": str(context.get("exception") or "")[:2000],
        "log": getattr(task_instance, "log_url", None),
    }


def report_failure(context: Context) -> None:
    """Log the notice and send it to the connection ``moon_alerts`` if there is one.

    Airflow logs what this raises; the state of the task does not change.
    """
    notice = build_failure_notice(context)
    log.error(
        "%s of %s failed in %s after %d tries; readers keep the rows of the last published run. Remove the cause, then "
        "clear the task: stages that are done are not repeated.",
        notice["dag"],
        notice["date"],
        notice["task"],
        notice["tries"],
    )
    try:
        connection = BaseHook.get_connection(CONNECTION)
    except AirflowNotFoundException:
        return
    send_alert(connection, notice)


TASK_DEFAULTS: dict[str, Any] = {
    "retries": 2,
    "retry_delay": timedelta(minutes=5),
    "retry_exponential_backoff": True,
    "on_failure_callback": report_failure,
}
"""Arguments of every task. A stage may run twice, so a retry is safe."""
