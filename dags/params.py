"""Parameters that several DAGs have, worded once, and how a parameter becomes an option of `moon`.

A module of its own: a DAG file that imported another one would register that one's DAG a second time.
"""

from collections.abc import Iterable
from typing import Any

from airflow.sdk import Param

from jobs.settings import Settings

SETTINGS = Settings()


def _share(description: str) -> Param:
    """Return the parameter that lifts a breaker up to a share."""
    return Param(None, type=["null", "number"], minimum=0, maximum=1, description=f"{description} Needs a reason.")


SHARED: dict[str, Any] = {
    "catalog": Param(
        SETTINGS.catalog,
        type=["null", "string"],
        description="Catalogue file, folder or URI; {date} is replaced. Empty: the setting MOON_CATALOG.",
    ),
    "mapping": Param(
        SETTINGS.mapping,
        type=["null", "string"],
        description="Mapping file (TOML). Empty: mapping.toml beside the catalogue.",
    ),
    "allow_deletes": _share("Let this run delete up to this share of the served products."),
    "allow_refusals": _share("Let this run refuse up to this share of the delivered rows."),
    "allow_shift": _share("Let untouched products lose up to this share of their neighbours."),
    "reason": Param(
        None,
        type=["null", "string"],
        maxLength=500,
        description="Why a breaker is lifted; kept in the run's record.",
    ),
}
"""Where the catalogue is, and the breakers that a run may lift."""


def templates(names: Iterable[str]) -> dict[str, str]:
    """Return the option of each parameter: its name with dashes, and a template that renders None to nothing.

    An option whose value renders to nothing is left out of the command line (`dags.spark_submit.SubmitStages`).
    """
    return {name.replace("_", "-"): f"{{{{ '' if params.{name} is none else params.{name} }}}}" for name in names}
