"""The snapshot date of a DAG run: the one helper that every DAG uses, in Python or as a template."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Protocol

from jobs.settings import Settings

TEMPLATE = "{{ snapshot_date(params, dag_run) }}"
"""The date in a templated field of a DAG that has `MACROS`."""


class DatedRun(Protocol):
    """What is read of Airflow's DAG run; a run triggered by hand or over REST has no logical date."""

    logical_date: datetime | None
    run_after: datetime


def snapshot_date(params: Mapping[str, Any], dag_run: DatedRun) -> str:
    """Return the ISO date of the snapshot that a run embeds.

    The parameter `date` decides; else the run's logical date, or the time it may start at where it has none, as a
    day in the shop's time zone, minus the shop's offset (settings ``timezone``, ``snapshot_offset_days``).

    Raises:
        ValueError: the parameter is no ISO date.
    """
    given = params.get("date")
    if given:
        return date.fromisoformat(given).isoformat()
    return Settings().compute_snapshot_date(dag_run.logical_date or dag_run.run_after).isoformat()


MACROS = {"snapshot_date": snapshot_date}
"""``user_defined_macros`` of a DAG."""
