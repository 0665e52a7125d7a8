"""Tests of the environment variables of a separate Airflow installation."""

from pathlib import Path

from airflow_home import REPOSITORY, airflow_environment


def test_a_developers_airflow_does_not_leak_in(tmp_path):
    inherited = {
        "AIRFLOW_HOME": "/home/dev/airflow",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://production",
        "AIRFLOW_CONN_MOON_SPARK": "spark://production",
        "PATH": "/bin",
        "MOON_LAKE": "/lake",
    }
    environment = airflow_environment(tmp_path, inherited)
    assert environment["AIRFLOW_HOME"] == str(tmp_path)
    assert "production" not in str(environment)
    assert {"PATH": "/bin", "MOON_LAKE": "/lake"}.items() <= environment.items()
    assert inherited["AIRFLOW_HOME"] == "/home/dev/airflow", "the caller's dictionary stays as it was"


def test_it_reads_our_dags_and_listens_on_the_loopback(tmp_path):
    environment = airflow_environment(tmp_path)
    assert Path(environment["AIRFLOW__CORE__DAGS_FOLDER"]) == REPOSITORY / "dags"
    assert environment["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert int(environment["AIRFLOW__CORE__PARALLELISM"]) <= 8
