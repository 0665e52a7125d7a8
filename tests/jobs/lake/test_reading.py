"""Tests that Spark's own reader and pyarrow in the tasks give the same rows."""

from datetime import UTC, datetime

import pytest

from jobs.lake.reading import can_spark_read, read_lake_files
from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.lake.writing import FileSink
from schemas.tables import TABLES

DAYS = ("2026-11-20", "2026-11-21")
WITHOUT_JAR = "the Hadoop connector for S3 (hadoop-aws) is not among Spark's jars; see docs/cluster.md, Object store"


def products(day: str) -> list[dict[str, object]]:
    return [
        {
            "product_id": f"{day} {number}",
            "source_row": number,
            "title": "Becher 🍵",
            "category": ["Haus", "Küche"],
            "attributes": [("Farbe", "rot")],
            "content_hash": "h",
            "images": [{"uri": "file:///a.jpg", "version": None}],
        }
        for number in range(3)
    ]


def fill(storage: Storage) -> Lake:
    """Two partitions of a table with nested columns, one of them in two files, and a table with instants."""
    lake = Lake(storage)
    for day in (*DAYS, DAYS[0]):
        sink = FileSink(storage, "products", {"date": day})
        sink.write_rows(products(day))
        lake.commit("products", sink.close(), attempt=None, partition={"date": day})
    sink = FileSink(storage, "models", {})
    row = {"model_version": "m", "uri": "/m", "dimension": 4, "detector_version": "d"}
    sink.write_rows([row | {"registered_at": datetime(2026, 11, 20, 1, 2, 3, 4, UTC)}])
    lake.commit("models", sink.close(), attempt=None, partition={})
    return lake


def rows(lake: Lake, spark, table: str, partition: dict[str, str] | None = None) -> list[str]:
    return sorted(str(row) for row in lake.read(spark, table, partition).collect())


def test_a_store_gives_what_a_folder_gives(spark, tmp_path, s3_storage):
    folder, store = fill(Storage(str(tmp_path))), fill(s3_storage)
    for table in ("products", "models"):
        assert rows(store, spark, table) == rows(folder, spark, table) != []
        assert store.read(spark, table).schema == folder.read(spark, table).schema
        assert store.read_arrow(table).sort_by(TABLES[table].key) == folder.read_arrow(table).sort_by(TABLES[table].key)
    assert len(rows(store, spark, "products", {"date": DAYS[0]})) == 6
    assert rows(store, spark, "products", {"date": DAYS[1]}) == rows(folder, spark, "products", {"date": DAYS[1]})
    assert rows(store, spark, "products", {"date": "2026-11-30"}) == []


def test_files_without_the_columns_of_their_folders(spark, s3_storage):
    lake = fill(s3_storage)
    uris, base = lake.files("products", {"date": DAYS[1]}), s3_storage.uri("products")
    found = read_lake_files(spark, s3_storage, uris, TABLES["products"].columns, base)
    assert found.columns == TABLES["products"].columns.names
    assert found.count() == 3


def test_the_session_knows_which_stores_spark_reads_itself(spark, tmp_path):
    assert can_spark_read(spark, tmp_path.as_uri())
    assert not can_spark_read(spark, "nowhere://bucket/lake")


def test_spark_reads_the_store_itself(spark, s3_storage):
    if not can_spark_read(spark, s3_storage.spark_uri(s3_storage.uri())):
        pytest.skip(WITHOUT_JAR)
    hadoop = spark.sparkContext._jsc.hadoopConfiguration()
    hadoop.set("fs.s3a.endpoint", s3_storage.options["AWS_ENDPOINT_URL"])
    hadoop.set("fs.s3a.path.style.access", "true")
    hadoop.set("fs.s3a.access.key", s3_storage.options["AWS_ACCESS_KEY_ID"])
    hadoop.set("fs.s3a.secret.key", s3_storage.options["AWS_SECRET_ACCESS_KEY"])
    assert len(fill(s3_storage).read(spark, "products").inputFiles()) == 3
