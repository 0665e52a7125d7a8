"""What happens when a task has failed for good: an error in the log and, where `dags.alerts` has a place, an alert."""

import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseHook, Context
from airflow.sdk.exceptions import AirflowNotFoundException

from dags.alerts import CONNECTION, send
from dags.snapshot_date import snapshot_date

log = logging.getLogger(__name__)


def failure_notice(context: Context) -> dict[str, Any]:
    """Return what a person needs to act: which night and task failed, why, where its log is."""
    task_instance, dag_run = context["task_instance"], context["dag_run"]
    return {
        "event": "moon_task_failed",
        "dag": task_instance.dag_id,
        "task": task_instance.task_id,
        "run_id": dag_run.run_id,
        "date": snapshot_date(context["params"], dag_run),
        "tries": task_instance.try_number,
        "error": str(context.get("exception") or "")[:2000],
        "log": getattr(task_instance, "log_url", None),
    }


def report_failure(context: Context) -> None:
    """Log the notice and send it to the connection ``moon_alerts`` if there is one."""
    notice = failure_notice(context)
    log.error(
        "%s of %s failed in %s after %d tries; readers keep what was last served. Mend the cause and clear the task: "
        "a stage that ran before changes nothing when it runs again.",
        notice["dag"],
        notice["date"],
        notice["task"],
        notice["tries"],
    )
    try:
        connection = BaseHook.get_connection(CONNECTION)
    except AirflowNotFoundException:
        return
    send(connection, notice)


TASK_DEFAULTS: dict[str, Any] = {
    "retries": 2,
    "retry_delay": timedelta(minutes=5),
    "retry_exponential_backoff": True,
    "on_failure_callback": report_failure,
}
"""Of every task of every DAG of ours; a stage may run twice, so a retry is safe."""
