"""Reports a nightly run that misses its deadline: an error in the triggerer's log and an alert.

The run continues: the alert says that readers see the rows of the last published run for longer than planned. Airflow
calls the callback inside its triggerer, so nothing here may block the event loop.
"""

import asyncio
import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import AsyncCallback, BaseHook, DeadlineAlert, DeadlineReference
from airflow.sdk.exceptions import AirflowNotFoundException

from dags.alerts import CONNECTION, send_alert
from jobs.settings import Settings

log = logging.getLogger(__name__)


def build_deadline_alert() -> DeadlineAlert | None:
    """Return the alert for runs that are not done within the setting ``deadline_hours`` after they were queued.

    Returns None if the setting is 0. Runs without a scheduler need that setting: in Airflow 3.3.2 ``dag.test()`` and
    ``airflow dags test`` cannot end a run of a DAG with a deadline (they look the alert up by a dict, not by its id).
    """
    hours = Settings().deadline_hours
    if not hours:
        return None
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(hours=hours),
        callback=AsyncCallback(report_late),
        name="nightly run is done",
    )


def build_late_notice(context: dict[str, Any]) -> dict[str, Any]:
    """Return the alert about a late run.

    Args:
        context: what Airflow passes to a deadline's callback: the run as in its REST API, and the deadline.
    """
    run = context["dag_run"]
    return {
        "event": "moon_run_late",
        "dag": run["dag_id"],
        "run_id": run["dag_run_id"],
        "logical_date": run.get("logical_date"),
        "state": run.get("state"),
        "queued_at": run.get("queued_at"),
        "deadline": str(context["deadline"]["deadline_time"]),
    }


async def report_late(context: dict[str, Any]) -> None:
    """Log the notice and send it to the connection ``moon_alerts`` if there is one.

    It returns nothing, because Airflow 3.3 writes the result into a text column, and a dict there ends the triggerer.

    Args:
        context: as in `build_late_notice`.
    """
    notice = build_late_notice(context)
    log.error("%s %s is late: not done by %s. The run continues", notice["dag"], notice["run_id"], notice["deadline"])
    try:
        connection = await BaseHook.aget_connection(CONNECTION)
    except AirflowNotFoundException:
        return
    await asyncio.to_thread(send_alert, connection, notice)
