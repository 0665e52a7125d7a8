"""Rolls out another model: re-embeds, waits for a person's approval, moves the alias.

`prepare` fills the new model's collection and ends with a comparison of both models in its log and in the lake. It may
take days; the old model serves and nightly runs continue. Then the run waits for an answer under Browse → Required
Actions (or over REST). `switch` applies to the new collection what runs have changed since, then moves the alias. A
rejected rollout skips it and changes nothing for readers. A cleared task continues from its last commit.
"""

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Param

from dags.params import DAG_DEFAULTS, SETTINGS, SHARED, build_option_templates
from dags.spark_submit import LONG_RUN_POOL, build_submit_task

APPROVAL_TIMEOUT = timedelta(days=7)
"""Time without an answer after which the rollout counts as rejected."""

PARAMS: dict[str, Any] = {
    "model": Param(
        type="string",
        minLength=1,
        maxLength=1000,
        description="Checkpoint folder of the new model, a path on the workers.",
    ),
    "reason": Param(
        type="string",
        minLength=1,
        maxLength=500,
        description="Why readers get another model; kept in the record of the rollout.",
    ),
    **{name: SHARED[name] for name in ("catalog", "mapping", "allow_deletes")},
}

with DAG(
    dag_id="moon_rollout",
    description="Re-embed with another model, ask for approval, move the alias",
    doc_md=__doc__,
    schedule=None,
    params=PARAMS,
    **DAG_DEFAULTS,
) as dag:
    prepare = build_submit_task(
        "rollout",
        build_option_templates(PARAMS),
        task_id="prepare",
        timeout=timedelta(days=7),
        pool=LONG_RUN_POOL,
    )
    approve = ApprovalOperator(
        task_id="approve",
        subject=f"Shall {{{{ params.model }}}} serve the readers of `{SETTINGS.alias}`?",
        body=(
            "Reason: {{ params.reason }}\n\nThe log of `prepare` ends with the share of neighbours that the new model "
            "has in common with the served one, and with the path of the page with examples. **Approve** moves the "
            "alias; `moon rollback` moves it back. **Reject** changes nothing."
        ),
        defaults=[ApprovalOperator.REJECT],
        response_timeout=APPROVAL_TIMEOUT,
    )
    switch = build_submit_task(
        "rollout",
        build_option_templates(PARAMS),
        flags={"--approve": "True"},
        task_id="switch",
        timeout=timedelta(hours=12),
        pool=LONG_RUN_POOL,
    )
    prepare >> approve >> switch
