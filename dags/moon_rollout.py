"""Another model for the readers: re-embed beside the nights, ask a person, move the alias.

`prepare` fills the new model's collection and ends with a comparison in its log and in the lake; it may take days, the
old model serves and nights go on meanwhile. Then the run waits for an answer under Browse → Required Actions (or over
REST). `switch` catches up with the nights that passed and moves the alias; a rejected rollout skips it and changes
nothing that readers see. Interrupted or cleared, a task goes on where it was.
"""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Param

from dags.failure import TASK_DEFAULTS
from dags.params import SHARED, templates
from dags.snapshot_date import MACROS
from dags.spark_submit import BESIDE_POOL, submit_stages
from jobs.settings import Settings

SETTINGS = Settings()
ANSWER_WITHIN = timedelta(days=7)
"""After this long without an answer the rollout counts as rejected."""

PARAMS: dict[str, Any] = {
    "model": Param(
        type="string",
        minLength=1,
        maxLength=1000,
        description="Checkpoint folder of the new model, as the workers reach it.",
    ),
    "reason": Param(
        type="string",
        minLength=1,
        maxLength=500,
        description="Why the readers get another model; kept in the record of the rollout.",
    ),
    **{name: SHARED[name] for name in ("catalog", "mapping", "allow_deletes")},
}

with DAG(
    dag_id="moon_rollout",
    description="Re-embed with another model, ask, switch",
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
    prepare = submit_stages(
        "rollout",
        templates(PARAMS),
        task_id="prepare",
        timeout=timedelta(days=7),
        pool=BESIDE_POOL,
    )
    approve = ApprovalOperator(
        task_id="approve",
        subject=f"Shall {{{{ params.model }}}} serve the readers of `{SETTINGS.alias}`?",
        body=(
            "Reason: {{ params.reason }}\n\nThe last lines of the log of `prepare` say how far its neighbours are "
            "those of the model that serves, and where the page with examples lies. **Approve** moves the alias, "
            "`moon rollback` moves it back; **Reject** leaves everything as it is."
        ),
        defaults=[ApprovalOperator.REJECT],
        response_timeout=ANSWER_WITHIN,
    )
    switch = submit_stages(
        "rollout",
        templates(PARAMS),
        flags={"--approve": "True"},
        task_id="switch",
        timeout=timedelta(hours=12),
        pool=BESIDE_POOL,
    )
    prepare >> approve >> switch
