"""What the lake says Milvus holds: the ledger `served`, read; and the vectors that can be served.

`served` is append-only: of a product's rows the one with the highest epoch is what the collection holds (design,
"Lake"). Three numbers stand beside the rows, set in the same Delta transactions: how often a collection's ledger was
written (its version, which a plan freezes), the latest snapshot date that was served (its high-water date) and the
epoch of the writer that finished last.
"""

from datetime import date as Date

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.lake import Lake

UPSERT, DELETE = "upsert", "delete"
"""Values of ``served.op``."""


def ledger_counter(collection: str) -> str:
    """Return the application transaction that counts the commits of a collection's ledger."""
    return f"ledger:{collection}"


def highwater_mark(collection: str) -> str:
    """Return the application transaction that holds a collection's high-water date (as a proleptic ordinal)."""
    return f"highwater:{collection}"


def epoch_mark(collection: str) -> str:
    """Return the application transaction that holds the epoch under which a collection's ledger was last written."""
    return f"epoch:{collection}"


def ledger_epoch(lake: Lake, collection: str) -> int:
    """Return the epoch of the last finished writer; rows in Milvus with a higher one are of an unfinished run."""
    return lake.transaction_version("served", epoch_mark(collection))


def ledger_version(lake: Lake, collection: str) -> int:
    """Return how often a collection's ledger was written; 0 for a collection never served."""
    return lake.transaction_version("served", ledger_counter(collection))


def highwater(lake: Lake, collection: str) -> Date | None:
    """Return the latest snapshot date that a collection served; None for a collection never served."""
    ordinal = lake.transaction_version("served", highwater_mark(collection))
    return Date.fromordinal(ordinal) if ordinal else None


def ledger_state(spark: SparkSession, lake: Lake, collection: str) -> DataFrame:
    """Return what a collection holds, one row a product.

    Returns:
        product_id, content_hash, partial, snapshot_date (ISO, of the night that wrote it) and epoch.
    """
    rows = lake.read(spark, "served", {"collection": collection})
    state = F.struct("epoch", "op", "content_hash", "partial", "snapshot_date")
    latest = rows.groupBy("product_id").agg(F.max_by(state, "epoch").alias("state"))
    held = latest.where(F.col("state.op") != DELETE)
    return held.select("product_id", "state.content_hash", "state.partial", "state.snapshot_date", "state.epoch")


def vectors_of(spark: SparkSession, lake: Lake, model_version: str, wanted: DataFrame) -> DataFrame:
    """Return the vectors of one model for some contents, one row a (product_id, content_hash) that has one.

    Of several vectors of the same content a whole one goes before a partial one, then the one made last.

    Args:
        spark, lake: where to read.
        model_version: the model that made the vectors.
        wanted: product_id and content_hash, such as a plan's `changes`; other vectors are not shuffled.

    Returns:
        product_id, content_hash, vector (float array), partial and date.
    """
    key = ["product_id", "content_hash"]
    rows = lake.read(spark, "vectors", {"model_version": model_version}).join(wanted, key, "left_semi")
    best = F.max_by(F.struct("vector", "partial", "date"), F.struct(~F.col("partial"), "date"))
    grouped = rows.groupBy(*key).agg(best.alias("best"))
    return grouped.select(*key, "best.vector", "best.partial", "best.date")
