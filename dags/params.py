"""Arguments and parameters that several DAGs share, and how a parameter becomes an option of `moon`.

They are not in a DAG file: a DAG file that imports another one registers the other's DAG a second time.
"""

from collections.abc import Iterable
from datetime import datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk import Param

from dags.failure import TASK_DEFAULTS
from dags.snapshot_date import MACROS
from jobs.settings import Settings, has_credentials

SETTINGS = Settings()

DAG_DEFAULTS: dict[str, Any] = {
    "start_date": datetime(2024, 1, 1, tzinfo=ZoneInfo(SETTINGS.timezone)),
    "catchup": False,
    "max_active_runs": 1,
    "user_defined_macros": MACROS,
    "default_args": TASK_DEFAULTS,
    "tags": ["moon"],
}
"""Arguments of every DAG."""


def build_optional_param(kind: str, description: str, default: str | None = None, **limits: Any) -> Param:
    """Return a parameter that may be left empty.

    Args:
        kind: JSON type of its value: string, integer or number.
        description: text of the form in the web interface.
        default: value of runs that do not set it.
        limits: further keywords of JSON Schema, such as ``maxLength``.
    """
    return Param(default, type=["null", kind], description=description, **limits)


_build_limit_param = partial(build_optional_param, "number", minimum=0, maximum=1)
"""Builds the parameter that raises a breaker's limit for one run, a share from 0 to 1."""

SHARED: dict[str, Any] = {
    "catalog": build_optional_param(
        "string",
        "Catalogue file, folder or URI; {date} is replaced. Empty: the setting MOON_CATALOG.",
        None if has_credentials(SETTINGS.catalog or "") else SETTINGS.catalog,
    ),
    "mapping": build_optional_param(
        "string", "Mapping file (TOML). Empty: mapping.toml next to the catalogue.", SETTINGS.mapping
    ),
    "allow_deletes": _build_limit_param("Let this run delete up to this share of the served products. Needs a reason."),
    "allow_refusals": _build_limit_param("Let this run refuse up to this share of the delivered rows. Needs a reason."),
    "allow_shift": _build_limit_param(
        "Let unchanged products lose up to this share of their neighbours. Needs a reason."
    ),
    "reason": build_optional_param(
        "string", "Why a breaker's limit is raised; kept in the record of the run.", maxLength=500
    ),
}
"""Parameters: where the catalogue is, and the breakers' limits that one run may raise."""


def build_option_templates(names: Iterable[str]) -> dict[str, str]:
    """Return a Jinja template by option for DAG parameters; an option has its parameter's name with dashes.

    A parameter that is None renders to an empty string, and `dags.spark_submit` then leaves the option out.

    Args:
        names: names of DAG parameters.
    """
    return {name.replace("_", "-"): f"{{{{ '' if params.{name} is none else params.{name} }}}}" for name in names}
