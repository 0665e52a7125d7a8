"""A DAG with our own submit task and no date: the jobs' environment of the test hangs on it once."""

from datetime import timedelta

from airflow.sdk import DAG

from dags.failure import report_failure
from dags.spark_submit import submit_stages

with DAG(
    "killed",
    schedule=None,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=1), "on_failure_callback": report_failure},
) as dag:
    submit_stages("prepare", {}, timedelta(minutes=10))
