"""What the lake says Milvus holds: the ledger `served`, read; and the vectors that can be served.

`served` is append-only: of a product's rows the one with the highest epoch is what the collection holds (design,
"Lake"). Numbers stand beside the rows, set in the same Delta transactions: how often a collection's ledger was
written (its version, which a plan freezes), the latest snapshot date that was served (its high-water date) and the
epoch of the writer that finished last.
"""

from datetime import date as Date

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.lake.store import Lake
from schemas.tables import CONTENT_KEY

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


def history_mark(collection: str) -> str:
    """Return the application transaction that holds the first date of which a collection's ledger still tells."""
    return f"history:{collection}"


def read_history_start(lake: Lake, collection: str) -> Date | None:
    """Return the first date that `read_ledger` can go back to after compaction; None where nothing was compacted."""
    ordinal = lake.read_transaction_version("served", history_mark(collection))
    return Date.fromordinal(ordinal) if ordinal else None


def read_ledger_epoch(lake: Lake, collection: str) -> int:
    """Return the epoch of the last finished writer; rows in Milvus with a higher one are of an unfinished run."""
    return lake.read_transaction_version("served", epoch_mark(collection))


def read_ledger_version(lake: Lake, collection: str) -> int:
    """Return how often a collection's ledger was written; 0 for a collection never served."""
    return lake.read_transaction_version("served", ledger_counter(collection))


def read_highwater_date(lake: Lake, collection: str) -> Date | None:
    """Return the latest snapshot date that a collection served; None for a collection never served."""
    ordinal = lake.read_transaction_version("served", highwater_mark(collection))
    return Date.fromordinal(ordinal) if ordinal else None


def read_ledger(spark: SparkSession, lake: Lake, collection: str, date: str | None = None) -> DataFrame:
    """Return what a collection holds, one row a product.

    Args:
        spark, lake, collection: whose ledger.
        date: an ISO date: what was held after that date's night, instead of now. What a restore wrote carries the dates
            of the rows that it brought back, so it tells the same of that date and nothing of later ones.

    Returns:
        product_id, content_hash, partial, snapshot_date (ISO, of the night that wrote it) and epoch.
    """
    rows = lake.read(spark, "served", {"collection": collection})
    if date is not None:
        rows = rows.where(F.col("snapshot_date") <= date)
    state = F.struct("epoch", "op", "content_hash", "partial", "snapshot_date")
    latest = rows.groupBy("product_id").agg(F.max_by(state, "epoch").alias("state"))
    held = latest.where(F.col("state.op") != DELETE)
    return held.select("product_id", "state.content_hash", "state.partial", "state.snapshot_date", "state.epoch")


def keys_held_since(spark: SparkSession, lake: Lake, collection: str, first_kept: str) -> DataFrame:
    """Return product_id and content_hash of all that was held at the end of some date from ``first_kept`` on."""
    rows = compact_history(lake.read(spark, "served", {"collection": collection}), first_kept)
    return rows.where(F.col("op") != DELETE).select("product_id", "content_hash").distinct()


def compact_history(rows: DataFrame, first_kept: str) -> DataFrame:
    """Return a ledger's rows with the history up to a date folded into what was held at that date's end.

    Args:
        rows: of `served`, all of one collection.
        first_kept: ISO date; what was held at its end, or at any later one's, can still be told.
    """
    is_old = F.coalesce(F.col("snapshot_date") <= first_kept, F.lit(True))
    old, kept = rows.where(is_old), rows.where(~is_old)
    columns = [name for name in rows.columns if name != "product_id"]
    latest = (
        old.groupBy("product_id").agg(F.max_by(F.struct(*columns), "epoch").alias("row")).select("product_id", "row.*")
    )
    held = latest.where(F.col("op") != DELETE)
    deletes = latest.where(F.col("op") == DELETE).join(kept, "product_id", "left_semi")  # a restore's, of a later row
    return held.unionByName(deletes).unionByName(kept)


def read_vectors(spark: SparkSession, lake: Lake, model_version: str, wanted: DataFrame) -> DataFrame:
    """Return the vectors of one model for some contents, one row a (product_id, content_hash) that has one.

    Of several vectors of the same content a whole one goes before a partial one, then the one made last.

    Args:
        spark, lake: where to read.
        model_version: the model that made the vectors.
        wanted: product_id and content_hash, such as a plan's `changes`; other vectors are not shuffled.

    Returns:
        product_id, content_hash, vector (float array), partial and date.
    """
    rows = lake.read(spark, "vectors", {"model_version": model_version}).join(wanted, CONTENT_KEY, "left_semi")
    best = F.max_by(F.struct("vector", "partial", "date"), F.struct(~F.col("partial"), "date"))
    grouped = rows.groupBy(*CONTENT_KEY).agg(best.alias("best"))
    return grouped.select(*CONTENT_KEY, "best.vector", "best.partial", "best.date")
