"""Turns a group of stages into one Spark submit: the only module that knows how a DAG reaches the jobs.

The scheduler's environment has neither Spark nor torch. A task calls ``spark-submit`` of the jobs' environment on
``jobs/spark_entrypoint.py``, which is the `moon` command; everything the two environments have to agree on stands here.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import BaseHook, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowNotFoundException
from pydantic import SecretStr

from jobs.settings import REPOSITORY, Settings
from jobs.spark.session import build_session_configuration

CONNECTION = "moon_spark"
"""Airflow connection that names the Spark master; where it is not defined, the setting ``spark_master`` stands."""
GPU_POOL = "moon_gpu"
"""Airflow pool with one slot per GPU (``airflow pools import dags/pools.json``)."""
BESIDE_POOL = "moon_beside"
"""Airflow pool of work that may take days: it must not keep a night from its GPU, so it has a place of its own."""
APPLICATION = REPOSITORY / "jobs" / "spark_entrypoint.py"
SUBMIT_ARGUMENTS = ("spark.master", "spark.driver.memory")
FINAL_STATUS = {
    2: "the command line was refused",
    3: "a gate or a breaker stopped the night",
}
"""Exit statuses of `moon` that a retry cannot change."""


class SubmitStages(SparkSubmitOperator):
    """A Spark submit of `moon`; an argument ``--name=`` that renders to nothing is left out.

    A stage may run twice at once, so retrying is safe; a stopped night fails at once, without a retry.
    """

    application_args: list[str]
    conf: dict[str, str] | None

    def execute(self, context: Context) -> None:
        """Submit and wait, with the job's own log in the task's log."""
        self.application_args = given(self.application_args)
        settings = Settings()
        if ensure_connection(settings).startswith("local"):  # Spark inside the submitting process: ours to configure
            self.conf = local_configuration(settings) | (self.conf or {})
        try:
            super().execute(context)
        except AirflowException as error:
            status = re.search(r"Error code is: (\d+)", str(error))
            reason = FINAL_STATUS.get(int(status.group(1))) if status else None
            if reason is None:
                raise
            raise AirflowFailException(f"{reason}; see the last lines above. Retrying changes nothing") from error


def given(arguments: Sequence[str]) -> list[str]:
    """Return the arguments without options that have no value and flags that are off (``--name?False``)."""
    kept = [text for text in arguments if not re.fullmatch(r"--[a-z-]+(=|\?False)", text)]
    return [text.removesuffix("?True") if re.fullmatch(r"--[a-z-]+\?True", text) else text for text in kept]


def submit_stages(
    command: str,
    options: Mapping[str, str],
    timeout: timedelta,
    flags: Mapping[str, str] | None = None,
    *,
    task_id: str | None = None,
    **operator_options: Any,
) -> SubmitStages:
    """Return the task that runs ``moon COMMAND --name=value …`` through spark-submit.

    Args:
        command: of `moon`.
        options: long option names without dashes, with Jinja templates as values.
        timeout: the task is killed after this long.
        flags: options without a value, such as ``--dry-run``, with templates that render to True or False.
        task_id: default: the command.
        operator_options: pool, outlets and whatever else an operator takes.
    """
    settings = Settings()
    return SubmitStages(
        task_id=task_id or command,
        name=f"moon-{task_id or command}",
        application=str(APPLICATION),
        application_args=[
            command,
            *(f"--{name}={template}" for name, template in options.items()),
            *(f"{flag}?{template}" for flag, template in (flags or {}).items()),
        ],
        conn_id=CONNECTION,
        driver_memory=settings.spark_memory,
        env_vars=submit_environment(settings),
        execution_timeout=timeout,
        **operator_options,
    )


def local_configuration(settings: Settings) -> dict[str, str]:
    """Return the session's configuration less what is an argument of spark-submit itself."""
    configuration = build_session_configuration(settings)
    return {name: value for name, value in configuration.items() if name not in SUBMIT_ARGUMENTS}


def submit_environment(settings: Settings) -> dict[str, str]:
    """Return the variables that spark-submit needs to run in the jobs' environment, and the settings in force.

    Secrets are not among them, because Airflow shows these variables: a job inherits them from its worker.

    Raises:
        FileNotFoundError: there is no pyspark in the jobs' environment.
    """
    environment = Path(settings.jobs_env)
    python = str(environment / "bin" / "python")
    spark = next(environment.glob("lib/python3.*/site-packages/pyspark"), None)
    if spark is None:
        raise FileNotFoundError(f"no pyspark in {environment}: run `make setup`, or set MOON_JOBS_ENV")
    variables = {
        "SPARK_HOME": str(spark),
        "PYSPARK_PYTHON": python,
        "PYSPARK_DRIVER_PYTHON": python,
        "PATH": os.pathsep.join([str(environment / "bin"), os.environ.get("PATH", os.defpath)]),
    }
    java = REPOSITORY / ".java"
    if (java / "bin" / "java").exists():
        variables["JAVA_HOME"] = str(java)
    return variables | given_settings(settings)


def given_settings(settings: Settings) -> dict[str, str]:
    """Return the settings that differ from their defaults as ``MOON_*`` variables, secrets left out."""
    variables = {}
    for name in sorted(settings.model_fields_set):
        value = getattr(settings, name)
        if value is None or isinstance(value, SecretStr) or name == "lake_storage_options":
            continue
        text = json.dumps(value) if isinstance(value, tuple | list | dict) else str(value)
        variables[f"MOON_{name.upper()}"] = text
    return variables


def ensure_connection(settings: Settings) -> str:
    """Return the Spark master of the connection, after defining it from the settings where nobody did."""
    try:
        connection = BaseHook.get_connection(CONNECTION)
    except AirflowNotFoundException:
        definition = {"conn_type": "spark", "host": settings.spark_master}
        os.environ[f"AIRFLOW_CONN_{CONNECTION.upper()}"] = json.dumps(definition)
        return settings.spark_master
    return str(connection.host or "")
