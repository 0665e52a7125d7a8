"""Builds the Airflow task that runs a `moon` command through spark-submit.

The scheduler's environment has neither Spark nor torch: a task calls ``spark-submit`` of the jobs' environment on
``jobs/spark_entrypoint.py``, which is the `moon` command. Everything that the two environments must agree on is in this
module.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import BaseHook, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowNotFoundException
from pydantic import SecretStr

from jobs.errors import EXIT_INPUT, EXIT_USAGE
from jobs.parent_process import end_with_parent
from jobs.settings import REPOSITORY, Settings, has_credentials
from jobs.spark.session import build_session_configuration

CONNECTION = "moon_spark"
"""Airflow connection with the Spark master; where it is not defined, the setting ``spark_master`` is used."""
GPU_POOL = "moon_gpu"
"""Airflow pool with one slot per GPU (``airflow pools import dags/pools.json``)."""
LONG_RUN_POOL = "moon_beside"
"""Airflow pool for work that may take days, so that such work never occupies a nightly run's slot."""
APPLICATION = REPOSITORY / "jobs" / "spark_entrypoint.py"
SUBMIT_ARGUMENTS = ("spark.master", "spark.driver.memory")
"""Spark properties that are arguments of spark-submit itself."""
FINAL_FAILURES = {
    EXIT_USAGE: "the command line or a setting cannot be used",
    EXIT_INPUT: "a gate, a breaker or the input stopped the run",
}
"""Exit statuses of `moon` that a retry cannot change (`jobs.errors`); after any other failure the task is retried."""


class MoonSubmitOperator(SparkSubmitOperator):
    """A Spark submit of `moon` that leaves out empty options and decides on a retry by the exit status.

    Retries are safe, because a stage may run twice, also at the same time.
    """

    application_args: list[str]
    conf: dict[str, str] | None

    def execute(self, context: Context) -> None:
        """Submit and wait; the job's log is part of the task's log.

        Raises:
            AirflowFailException: the job ended with a status of `FINAL_FAILURES`: no retry.
            AirflowException: the job failed otherwise: retry.
        """
        self.application_args = drop_empty_options(self.application_args)
        settings = Settings()
        if ensure_connection(settings).startswith("local"):  # Spark runs in the submitting process: configure it here
            self.conf = build_local_configuration(settings) | (self.conf or {})
        hook: Any = self._get_hook()
        # A killed task ends its application: else the retry would share its GPU with it.
        hook.submit = partial(hook.submit, preexec_fn=partial(end_with_parent, os.getpid()))
        self._hook = hook
        try:
            super().execute(context)
        except AirflowException as error:
            status = self.read_exit_status()
            if status not in FINAL_FAILURES:
                raise
            reason = FINAL_FAILURES[status]
            raise AirflowFailException(f"{reason}; see the last lines above. A retry changes nothing") from error

    def read_exit_status(self) -> int | None:
        """Return the exit status of spark-submit; None where it did not start.

        It is read from the process, because the provider's exception has it only as text, together with the command
        line, which contains users' texts.
        """
        process = self._hook and self._hook._submit_sp
        return process.returncode if process else None


def drop_empty_options(arguments: Sequence[str]) -> list[str]:
    """Return arguments without empty options (``--name=``) and without flags that are off (``--name?False``)."""
    kept = [text for text in arguments if not re.fullmatch(r"--[a-z-]+(=|\?False)", text)]
    return [text.removesuffix("?True") if re.fullmatch(r"--[a-z-]+\?True", text) else text for text in kept]


def build_submit_task(
    command: str,
    options: Mapping[str, str],
    timeout: timedelta,
    flags: Mapping[str, str] | None = None,
    *,
    task_id: str | None = None,
    **operator_options: Any,
) -> MoonSubmitOperator:
    """Return the task that runs ``moon COMMAND --name=value …`` through spark-submit.

    Args:
        command: command of `moon`.
        options: Jinja templates by long option name without dashes.
        timeout: time after which the task is killed.
        flags: Jinja templates that render to True or False, by flag with dashes, such as ``--dry-run``.
        task_id: default: the command.
        operator_options: further arguments of an Airflow operator, such as pool and outlets.
    """
    settings = Settings()
    return MoonSubmitOperator(
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
        env_vars=build_submit_environment(settings),
        execution_timeout=timeout,
        **operator_options,
    )


def build_local_configuration(settings: Settings) -> dict[str, str]:
    """Return the Spark properties of a local session, without those that are arguments of spark-submit itself."""
    configuration = build_session_configuration(settings)
    return {name: value for name, value in configuration.items() if name not in SUBMIT_ARGUMENTS}


def build_submit_environment(settings: Settings) -> dict[str, str]:
    """Return the environment variables that make spark-submit run in the jobs' environment with these settings.

    Secrets are left out, because Airflow shows these variables. A job inherits secrets from its worker.

    Raises:
        FileNotFoundError: the jobs' environment has no pyspark.
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
    return variables | export_settings(settings)


def export_settings(settings: Settings) -> dict[str, str]:
    """Return the settings that were set explicitly as ``MOON_*`` variables, without secrets and URIs with passwords."""
    variables = {}
    for name in sorted(settings.model_fields_set):
        value = getattr(settings, name)
        if value is None or isinstance(value, SecretStr) or name == "lake_storage_options":
            continue
        if isinstance(value, str) and has_credentials(value):
            continue
        text = json.dumps(value) if isinstance(value, tuple | list | dict) else str(value)
        variables[f"MOON_{name.upper()}"] = text
    return variables


def ensure_connection(settings: Settings) -> str:
    """Return the Spark master of the Airflow connection; a missing connection is made from the settings."""
    try:
        connection = BaseHook.get_connection(CONNECTION)
    except AirflowNotFoundException:
        definition = {"conn_type": "spark", "host": settings.spark_master}
        os.environ[f"AIRFLOW_CONN_{CONNECTION.upper()}"] = json.dumps(definition)
        return settings.spark_master
    return str(connection.host or "")
