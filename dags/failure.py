"""What happens when a task has failed for good: an error in the log and, where one is defined, a call of a webhook."""

import json
import logging
import urllib.request
from typing import Any

from airflow.sdk import BaseHook, Context
from airflow.sdk.exceptions import AirflowNotFoundException

from dags.snapshot_date import snapshot_date

log = logging.getLogger(__name__)

CONNECTION = "moon_alerts"
"""Airflow connection (type HTTP: host, port, schema; password sent as bearer token) that failures are posted to."""
TIMEOUT_SECONDS = 20


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
    """Log the notice and post it to the webhook of connection ``moon_alerts`` if there is one."""
    notice = failure_notice(context)
    log.error(
        "Night %s failed in %s after %d tries; readers keep what was last served. Mend the cause and clear the task: "
        "a stage that ran before changes nothing when it runs again.",
        notice["date"],
        notice["task"],
        notice["tries"],
    )
    try:
        connection = BaseHook.get_connection(CONNECTION)
    except AirflowNotFoundException:
        return
    post(webhook_url(connection), connection.password, notice)


def webhook_url(connection: Any) -> str:
    """Return the URL that an Airflow HTTP connection means."""
    host = connection.host or ""
    if "://" not in host:
        host = f"{connection.schema or 'https'}://{host}"
    return f"{host}:{connection.port}" if connection.port else host


def post(url: str, token: str | None, notice: dict[str, Any]) -> None:
    """Post a notice as JSON.

    Raises:
        ValueError: the URL is neither http nor https.
        OSError: the webhook did not take it.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"connection {CONNECTION}: {url} is no http(s) URL")
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url, json.dumps(notice).encode(), headers)  # noqa: S310 - checked above
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
        log.info("posted to %s: %d", CONNECTION, answer.status)
