"""Airflow DAGs that submit the commands of `jobs` to Spark."""
