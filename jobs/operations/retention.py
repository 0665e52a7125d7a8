"""Finds the data that the lake may drop: whole dates past retention, and vectors that nothing can use any more.

Ages are counted from the latest snapshot date, not from today, so a lake without new snapshots loses nothing.
"""

from dataclasses import dataclass
from datetime import date as Date
from datetime import timedelta
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.lake.store import Lake
from jobs.state.ledger import STORED_KEY, get_payload_hash, keys_held_since
from schemas.collection import collection_name, strip_schema_suffix
from schemas.tables import CONTENT_KEY

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DATED_TABLES = ("snapshots", "row_roles", "quarantine", "plans", "changes", "products", "image_versions")
"""Tables that forget whole dates."""

SUPERSEDED_SHARE = 0.2
"""A partition of vectors is rewritten when at least this share of it is superseded."""


@dataclass(frozen=True)
class ForgottenPartition:
    """A partition that retention drops or reduces.

    Attributes:
        table, partition: name of the table and values of the partition columns.
        rows: number of rows that are removed.
        kept: rows that stay, without partition columns; None drops the partition.
    """

    table: str
    partition: dict[str, str]
    rows: int
    kept: DataFrame | None = None


def find_first_kept_date(lake: Lake, days: int) -> str:
    """Return the first ISO date that is kept; empty for a lake without snapshots."""
    dates = [partition["date"] for partition in lake.list_partitions("snapshots")]
    return (Date.fromisoformat(max(dates)) - timedelta(days=days)).isoformat() if dates else ""


def find_expired_partitions(spark: "SparkSession", lake: Lake, first_kept: str) -> list[ForgottenPartition]:
    """Return the partitions of `DATED_TABLES` before a date that may be dropped.

    A date's products stay while a collection serves one of them that no later date holds because its later rows were
    refused. Reconciling the collection needs them.
    """
    needed = _list_served_dates(spark, lake, first_kept)
    found = []
    for table in DATED_TABLES:
        for partition in lake.open(table).partitions():
            date = partition["run_id"][:10] if table == "changes" else partition["date"]
            if date < first_kept and not (table == "products" and date in needed):
                found.append(ForgottenPartition(table, partition, lake.count(table, partition)))
    return found


def find_superseded_answers(spark: "SparkSession", lake: Lake, first_kept: str) -> list[ForgottenPartition]:
    """Return the partitions of `images` before a date that hold superseded answers.

    Only the latest answer for an address is needed, and none for an address that no retained date names.
    """
    images = lake.read(spark, "images")
    latest = images.groupBy("uri").agg(F.max("asked_at").alias("asked_at"))
    named = lake.read(spark, "image_versions").select("uri").distinct()
    found = []
    for partition in lake.open("images").partitions():
        if partition["date"] < first_kept:
            rows = images.where(F.col("date") == partition["date"])
            kept = rows.join(latest, ["uri", "asked_at"], "left_semi").join(named, "uri", "left_semi")
            count, total = kept.count(), lake.count("images", partition)
            if total - count > SUPERSEDED_SHARE * total:
                found.append(ForgottenPartition("images", partition, total - count, kept if count else None))
    return found


def _list_served_dates(spark: "SparkSession", lake: Lake, first_kept: str) -> set[str]:
    """Return the old dates that hold the last row of a product that a collection serves."""
    products = lake.read(spark, "products").withColumn("payload_hash", get_payload_hash()).select(*STORED_KEY, "date")
    if not any(partition["date"] < first_kept for partition in lake.open("products").partitions()):
        return set()
    latest = (
        products.join(_load_held_keys(spark, lake, first_kept), STORED_KEY, "left_semi")
        .groupBy(*STORED_KEY)
        .agg(F.max("date").alias("date"))
    )
    return {row.date for row in latest.where(F.col("date") < first_kept).select("date").distinct().collect()}


def _load_held_keys(spark: "SparkSession", lake: Lake, first_kept: str, model: str = "") -> DataFrame:
    """Return the columns of `STORED_KEY` of all products that collections serve or may be restored to.

    Args:
        spark, lake: session, and the lake that holds the ledgers.
        first_kept: first ISO date that retention keeps.
        model: model version whose collections are read, of any schema version; empty: all collections.
    """
    held = spark.createDataFrame([], "product_id string, content_hash string, payload_hash string")
    for partition in lake.open("served").partitions():
        if model and strip_schema_suffix(partition["collection"]) != collection_name(model, 1):
            continue
        held = held.unionByName(keys_held_since(spark, lake, partition["collection"], first_kept))
    return held.distinct()


def find_superseded_vectors(spark: "SparkSession", lake: Lake, first_kept: str) -> list[ForgottenPartition]:
    """Return old partitions of vectors, reduced to each product's latest and those served or restorable."""
    found = []
    for model in sorted({partition["model_version"] for partition in lake.open("vectors").partitions()}):
        judged = _classify_vectors(spark, lake, model, first_kept)
        counts = judged.groupBy("date").agg(F.count("*").alias("rows"), F.count_if(~F.col("keep")).alias("gone"))
        for row in counts.where("gone > 0").orderBy("date").collect():
            if row.gone >= SUPERSEDED_SHARE * row.rows:
                partition = {"model_version": model, "date": row.date}
                keep = judged.where((F.col("date") == row.date) & F.col("keep")).select(*CONTENT_KEY)
                kept = lake.read(spark, "vectors", partition).join(keep, CONTENT_KEY, "left_semi")
                found.append(ForgottenPartition("vectors", partition, row.gone, kept))
    return found


def _classify_vectors(spark: "SparkSession", lake: Lake, model: str, first_kept: str) -> DataFrame:
    """Return product_id, content_hash, date and keep (bool) of every vector of a model."""
    vectors = lake.read(spark, "vectors", {"model_version": model}).select(*CONTENT_KEY, "date")
    latest = vectors.groupBy("product_id").agg(F.max("date").alias("latest"))
    held = _load_held_keys(spark, lake, first_kept, model)
    served = held.select(*CONTENT_KEY).distinct().withColumn("served", F.lit(True))
    joined = vectors.join(latest, "product_id").join(served, CONTENT_KEY, "left")
    keep = (F.col("date") >= first_kept) | (F.col("date") == F.col("latest")) | F.col("served").isNotNull()
    return joined.select(*CONTENT_KEY, "date", keep.alias("keep"))
