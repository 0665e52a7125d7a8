"""A DAG with one submit task and no date, on which the jobs' environment of the test hangs once."""

from datetime import timedelta

from airflow.sdk import DAG

from dags.failure import report_failure
from dags.spark_submit import build_submit_task

with DAG(
    "killed",
    schedule=None,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=1), "on_failure_callback": report_failure},
) as dag:
    build_submit_task("prepare", {}, timedelta(minutes=10))
