"""Processes past snapshot dates that no run has processed, or re-embeds them with another model: `moon backfill`.

The DAG has no schedule. A run is a dry run by default: read the dates and the hours of work in the task's log, then
trigger it again with `dry_run` off. After an interruption trigger it with the same parameters: dates that are done are
skipped. Nightly runs continue at the same time.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param

from dags.params import DAG_DEFAULTS, SHARED, build_option_templates, build_optional_param
from dags.spark_submit import LONG_RUN_POOL, build_submit_task

PARAMS: dict[str, Any] = {
    "from": Param(type="string", format="date", description="First snapshot date, YYYY-MM-DD."),
    "to": Param(type="string", format="date", description="Last snapshot date, YYYY-MM-DD, included."),
    "model": build_optional_param(
        "string", "Checkpoint folder, a path on the workers: re-embeds, serves nothing. Empty: process missed dates."
    ),
    "where": build_optional_param(
        "string", 'With a model, only these products: category_1 == "Shoes" and images >= 2.', maxLength=2000
    ),
    "scratch": build_optional_param(
        "integer",
        "With a model, days for which a scratch collection serves the vectors. Empty: no collection.",
        minimum=1,
        maximum=365,
    ),
    "dry_run": Param(True, type="boolean", description="Only log the dates and the estimated hours of work."),
    "approved": Param(
        False,
        type="boolean",
        description="Run for any length of time. Off: work above MOON_BACKFILL_ASK_HOURS stops with its estimate.",
    ),
    **SHARED,
}
FLAGS = {"dry_run": "--dry-run", "approved": "--yes"}

with DAG(
    dag_id="moon_backfill",
    description="Past snapshot dates, with the served model or another one",
    doc_md=__doc__,
    schedule=None,
    params=PARAMS,
    **DAG_DEFAULTS,
) as dag:
    build_submit_task(
        "backfill",
        build_option_templates(name for name in PARAMS if name not in FLAGS),
        flags={option: f"{{{{ params.{name} }}}}" for name, option in FLAGS.items()},
        timeout=timedelta(days=3),
        pool=LONG_RUN_POOL,
    )
