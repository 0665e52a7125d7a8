"""Gives the tests of the DAGs their own AIRFLOW_HOME and database, before Airflow is imported anywhere.

These tests run in .venv-airflow (``make test-airflow``). Where Airflow is not installed, they are not collected.
"""

import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

hypothesis_settings.register_profile("moon", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("moon")
"""No deadline, as in the other tests: the time of an example depends on the load of the machine."""

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "scripts"))

if importlib.util.find_spec("airflow") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    from airflow_home import airflow_environment

    HOME = Path(tempfile.mkdtemp(prefix="moon-airflow-"))
    environment = airflow_environment(HOME)
    for name in [name for name in os.environ if name.startswith(("AIRFLOW", "MOON_"))]:
        del os.environ[name]
    os.environ.update(environment)


def pytest_unconfigure() -> None:
    """Remove AIRFLOW_HOME."""
    if "HOME" in globals():
        shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def airflow_database() -> Iterator[None]:
    """A migrated metadata database with the pools of ``dags/pools.json``."""
    from airflow.models.pool import Pool
    from airflow.utils.db import initdb
    from airflow.utils.session import create_session

    initdb()
    with create_session() as session:
        for name, pool in json.loads((REPOSITORY / "dags" / "pools.json").read_text()).items():
            Pool.create_or_update_pool(name, session=session, **pool)
    yield
