"""Missed nights made after the fact, or past snapshots re-embedded: one Spark submit of `moon backfill`.

By hand only. It starts as a dry run: look at the days and hours in the task's log, then trigger it again without. Where
it was interrupted, trigger it again with the same parameters: finished days are skipped. A night may run beside it.
"""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk import DAG, Param

from dags.failure import TASK_DEFAULTS
from dags.params import SHARED, templates
from dags.snapshot_date import MACROS
from dags.spark_submit import BESIDE_POOL, submit_stages
from jobs.settings import Settings

SETTINGS = Settings()

PARAMS: dict[str, Any] = {
    "from": Param(type="string", format="date", description="First snapshot date, YYYY-MM-DD."),
    "to": Param(type="string", format="date", description="Last snapshot date, YYYY-MM-DD, included."),
    "model": Param(
        None,
        type=["null", "string"],
        description="Checkpoint folder, as the workers reach it: re-embeds and serves nothing. Empty: missed nights.",
    ),
    "where": Param(
        None,
        type=["null", "string"],
        maxLength=2000,
        description='Only some products, with a model: category_1 == "Shoes" and images >= 2.',
    ),
    "scratch": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        maximum=365,
        description="Days that the vectors can be searched in a collection of their own, with a model. Empty: none.",
    ),
    "dry_run": Param(True, type="boolean", description="Only say which days and how many hours it is."),
    "approved": Param(
        False,
        type="boolean",
        description="Go on however long it takes. Without, work above MOON_BACKFILL_ASK_HOURS stops with its estimate.",
    ),
    **SHARED,
}
FLAGS = {"dry_run": "--dry-run", "approved": "--yes"}

with DAG(
    dag_id="moon_backfill",
    description="Missed nights, or past snapshots with another model",
    doc_md=__doc__,
    schedule=None,
    start_date=datetime(2024, 1, 1, tzinfo=ZoneInfo(SETTINGS.timezone)),
    catchup=False,
    max_active_runs=1,
    params=PARAMS,
    user_defined_macros=MACROS,
    default_args=TASK_DEFAULTS,
    tags=["moon"],
) as dag:
    submit_stages(
        "backfill",
        templates(name for name in PARAMS if name not in FLAGS),
        flags={option: f"{{{{ params.{name} }}}}" for name, option in FLAGS.items()},
        timeout=timedelta(days=3),
        pool=BESIDE_POOL,
    )
