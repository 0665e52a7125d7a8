"""A night that is late: an error in the triggerer's log and, where `dags.alerts` has a place, an alert.

The night goes on: an alert only says that readers will see yesterday's products for longer than was promised. Airflow
runs the callback in its triggerer, so everything here is asynchronous or in a thread.
"""

import asyncio
import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import AsyncCallback, BaseHook, DeadlineAlert, DeadlineReference
from airflow.sdk.exceptions import AirflowNotFoundException

from dags.alerts import CONNECTION, send
from jobs.settings import Settings

log = logging.getLogger(__name__)


def deadline() -> DeadlineAlert | None:
    """Return the alert of a DAG whose run should end within the setting ``deadline_hours`` after it was queued.

    None where the setting is 0. Trials need that: in Airflow 3.3.2 ``dag.test()`` and ``airflow dags test`` cannot end
    a run of a DAG with a deadline (they look its alert up by a dict instead of by its id).
    """
    hours = Settings().deadline_hours
    if not hours:
        return None
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(hours=hours),
        callback=AsyncCallback(report_late),
        name="night is served",
    )


def late_notice(context: dict[str, Any]) -> dict[str, Any]:
    """Return which run is late; Airflow gives a callback of a deadline the run as its REST API shows it."""
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

    It returns nothing: Airflow 3.3 writes the result into a text column, and a dict there ends the triggerer.
    """
    notice = late_notice(context)
    log.error("%s %s is late: not done by %s. It goes on", notice["dag"], notice["run_id"], notice["deadline"])
    try:
        connection = await BaseHook.aget_connection(CONNECTION)
    except AirflowNotFoundException:
        return
    await asyncio.to_thread(send, connection, notice)
