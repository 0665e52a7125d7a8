"""Builds the environment variables of an Airflow installation with its own folder and database."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SETTINGS = {
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__PARALLELISM": "4",  # the default starts 32 workers, 5 GB
    "AIRFLOW__API__HOST": "127.0.0.1",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
}


def airflow_environment(home: Path, inherited: dict[str, str] | None = None) -> dict[str, str]:
    """Return the variables of an Airflow whose home is `home` and whose DAGs are those of this repository.

    Inherited ``AIRFLOW*`` variables are left out, so that a developer's own Airflow is not touched.
    """
    inherited = dict(os.environ) if inherited is None else inherited
    kept = {name: value for name, value in inherited.items() if not name.startswith("AIRFLOW")}
    own = {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags")}
    return {**kept, **SETTINGS, **own}
