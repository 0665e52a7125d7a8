"""A lake on an S3-compatible store: a run has the same result as in a folder, also after maintenance."""

from datetime import date, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.datasets.demo_catalog import write_demo_catalog
from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.operations.maintain import maintain_lake
from jobs.settings import Settings
from tests.scenarios.nights import assert_same, run_night, state_of

DAY = "2026-11-20"

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]  # a crowded machine; else two minutes


def test_a_night_on_an_object_store(spark: SparkSession, s3_storage: Storage, tmp_path: Path) -> None:
    write_demo_catalog(tmp_path / "shop", products=24, days=1, seed=11, start=date.fromisoformat(DAY))

    def settings(name: str, lake: str, **options: object) -> Settings:
        return Settings(
            _env_file=None,
            lake=lake,
            milvus=str(tmp_path / f"{name}.db"),
            catalog=str(tmp_path / "shop" / "{date}" / "catalog.jsonl"),
            mapping=str(tmp_path / "shop" / "mapping.toml"),
            max_refusals=0.9,
            **options,
        )

    folder = settings("folder", str(tmp_path / "lake"))
    store = settings("store", s3_storage.root, lake_storage_options=dict(s3_storage.options))
    model = run_night(spark, folder, DAY).results["report"].details["model"]
    outcome = run_night(spark, store, DAY)
    assert outcome.results["report"].details["page"].startswith(f"{s3_storage.root}/_reports/{DAY}/")
    expected = state_of(spark, folder, model)
    assert_same(state_of(spark, store, model), expected)

    done = maintain_lake(spark, Lake(s3_storage), store, safe_age=timedelta(0), max_files=1)
    assert any(action.what.startswith("compacted") for action in done)
    assert_same(state_of(spark, store, model), expected)
