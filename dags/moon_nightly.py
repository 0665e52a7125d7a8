"""The nightly run: prepare → infer → serve, each one Spark submit of several stages of `moon`.

By schedule, by backfill, by hand or over REST with no logical date: the snapshot date comes from one helper. Change
what a stage does in ``jobs/``, how a stage is submitted in ``dags/spark_submit.py``.
"""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk import DAG, Asset, Context, CronTriggerTimetable, Param

from dags.deadline import deadline
from dags.failure import TASK_DEFAULTS
from dags.params import SHARED, templates
from dags.snapshot_date import MACROS, TEMPLATE, snapshot_date
from dags.spark_submit import GPU_POOL, submit_stages
from jobs.settings import Settings

SETTINGS = Settings()
PUBLISHED = Asset(name=f"moon_{SETTINGS.alias}", uri=f"x-moon://collections/{SETTINGS.alias}")
"""The collection that readers query; its events carry the snapshot date they brought."""

PARAMS: dict[str, Any] = {
    "date": Param(
        None,
        type=["null", "string"],
        format="date",
        description="Snapshot date, YYYY-MM-DD. Empty: the run's own day in the shop's time zone.",
    ),
    **SHARED,
}


def options() -> dict[str, str]:
    """Return the options of every group of stages; a parameter that is None renders to nothing and is left out."""
    return {"date": TEMPLATE} | templates(name for name in PARAMS if name != "date")


def announce(context: Context, result: object = None) -> None:
    """Give the asset event of a served night its snapshot date."""
    date = snapshot_date(context["params"], context["dag_run"])
    context["outlet_events"][PUBLISHED].extra = {"snapshot_date": date}


with DAG(
    dag_id="moon_nightly",
    description="From the day's catalogue to the collection that readers query",
    doc_md=__doc__,
    schedule=CronTriggerTimetable(SETTINGS.schedule, timezone=SETTINGS.timezone),
    start_date=datetime(2024, 1, 1, tzinfo=ZoneInfo(SETTINGS.timezone)),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=12),
    deadline=deadline(),
    params=PARAMS,
    user_defined_macros=MACROS,
    default_args=TASK_DEFAULTS,
    tags=["moon"],
) as dag:
    prepare = submit_stages("prepare", options(), timeout=timedelta(hours=2))
    infer = submit_stages("infer", options(), timeout=timedelta(hours=8), pool=GPU_POOL)
    serve = submit_stages("serve", options(), timeout=timedelta(hours=2), outlets=[PUBLISHED], post_execute=announce)
    prepare >> infer >> serve
