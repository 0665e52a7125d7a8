"""The nightly run: prepare → infer → serve, each a Spark submit of several stages of `moon`, then the report.

The last task writes the page of a run that did not get to its end, such as a killed one. It is a teardown: whether it
passes or fails, the run is what the three others are.

Runs by schedule and by backfill have a logical date. Runs that are triggered in the web interface or over REST have
none. `dags.snapshot_date` computes the snapshot date of both. The stages are in ``jobs/stages``, the Spark submit is in
``dags/spark_submit.py``.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, Context, CronTriggerTimetable, TriggerRule

from dags.deadline import build_deadline_alert
from dags.params import DAG_DEFAULTS, SETTINGS, SHARED, build_option_templates, build_optional_param
from dags.snapshot_date import SNAPSHOT_DATE_TEMPLATE, compute_snapshot_date
from dags.spark_submit import GPU_POOL, build_submit_task

PUBLISHED = Asset(name=f"moon_{SETTINGS.alias}", uri=f"x-moon://collections/{SETTINGS.alias}")
"""The collection behind the alias; each event carries the snapshot date that was published."""

PARAMS: dict[str, Any] = {
    "date": build_optional_param(
        "string", "Snapshot date, YYYY-MM-DD. Empty: the day of the run in the shop's time zone.", format="date"
    ),
    **SHARED,
}


def build_options() -> dict[str, str]:
    """Return the options of each task as templates by option name."""
    return {"date": SNAPSHOT_DATE_TEMPLATE} | build_option_templates(name for name in PARAMS if name != "date")


def add_date_to_event(context: Context, result: object = None) -> None:
    """Write the snapshot date into the asset event of a published run.

    Args:
        context: Airflow's context of the task.
        result: return value of the task; not used, but Airflow passes it.
    """
    date = compute_snapshot_date(context["params"], context["dag_run"])
    context["outlet_events"][PUBLISHED].extra = {"snapshot_date": date}


with DAG(
    dag_id="moon_nightly",
    description="From the day's catalogue to the collection that readers query",
    doc_md=__doc__,
    schedule=CronTriggerTimetable(SETTINGS.schedule, timezone=SETTINGS.timezone),
    dagrun_timeout=timedelta(hours=12),
    deadline=build_deadline_alert(),
    params=PARAMS,
    **DAG_DEFAULTS,
) as dag:
    prepare = build_submit_task("prepare", build_options(), timeout=timedelta(hours=2))
    infer = build_submit_task("infer", build_options(), timeout=timedelta(hours=8), pool=GPU_POOL)
    serve = build_submit_task(
        "serve", build_options(), timeout=timedelta(hours=2), outlets=[PUBLISHED], post_execute=add_date_to_event
    )
    report = build_submit_task("report", build_options(), timeout=timedelta(hours=1), flags={"--ended": "True"})
    report = report.as_teardown(on_failure_fail_dagrun=False)
    report.trigger_rule = TriggerRule.ALL_DONE  # a teardown without a set-up has none of its own
    prepare >> infer >> serve >> report
