"""Thin Airflow DAGs over the stages in `jobs`."""
