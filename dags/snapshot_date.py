"""Computes the snapshot date of a DAG run, in Python and as a template."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Protocol

from jobs.settings import Settings

SNAPSHOT_DATE_TEMPLATE = "{{ snapshot_date(params, dag_run) }}"
"""The date in a templated field of a DAG that has `MACROS`."""


class DatedRun(Protocol):
    """The attributes of Airflow's DAG run that are read here."""

    logical_date: datetime | None
    """None for a run that was triggered in the web interface or over REST."""
    run_after: datetime
    """The earliest time at which the run may start."""


def compute_snapshot_date(params: Mapping[str, Any], dag_run: DatedRun) -> str:
    """Return the ISO date of the snapshot that a run processes.

    Args:
        params: DAG parameters; `date`, where it is set, is the result.
        dag_run: without `date`, its logical date (or run_after where it has none) decides: the day in the shop's time
            zone minus the shop's offset (settings ``timezone``, ``snapshot_offset_days``).

    Raises:
        ValueError: the parameter is no ISO date.
    """
    chosen = params.get("date")
    if chosen:
        return date.fromisoformat(chosen).isoformat()
    return Settings().compute_snapshot_date(dag_run.logical_date or dag_run.run_after)


MACROS = {"snapshot_date": compute_snapshot_date}
"""``user_defined_macros`` of every DAG."""
