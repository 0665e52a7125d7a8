"""Compares the products of a date with the ledger of a collection (docs/decisions/0033-content-identity.md).

The functions take and return DataFrames. `jobs.stages.plan` reads the inputs and commits the result.
"""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.state.ledger import get_group, get_payload_hash
from schemas.tables import CONTENT_KEY

NEW, CHANGED, REUSE, PAYLOAD, DELETED, HELD = "new", "changed", "reuse", "payload", "deleted", "held"
OPS = (NEW, CHANGED, REUSE, PAYLOAD, DELETED, HELD)
"""Values of ``changes.op``; new and changed need a vector, reuse has one already; of payload only the payload differs;
held is a delete that waits."""

ENCODED_OPS = (NEW, CHANGED)
SERVED_OPS = (NEW, CHANGED, REUSE, PAYLOAD)
"""Products that get a row in the collection."""


def compare_with_ledger(
    products: DataFrame,
    ledger: DataFrame,
    refused: DataFrame,
    vectors: DataFrame,
    *,
    date: str,
    with_deletes: bool,
    with_groups: bool,
    with_payload: bool,
) -> DataFrame:
    """Return every product whose state on the date differs from the ledger.

    A partial product counts as changed even with an equal hash, so that its bad image is tried again. This happens
    once per date, so that a rerun of the date finds no changes. A product whose group changed is written again; its
    content is unchanged, so its vector is in the lake (`REUSE`). Where only the payload changed, no vector is needed.

    Args:
        products: valid rows of the date; product_id, content_hash, source_row, group_id, payload_hash.
        ledger: rows that Milvus holds; product_id, content_hash, partial, snapshot_date (of the run that wrote the
            row), group_id, payload_hash.
        refused: product_id of rows that the date refused: their deletes are held.
        vectors: product_id, content_hash of complete vectors of the plan's model; these need no encoding.
        date: ISO snapshot date.
        with_deletes: whether absent products are deleted (False when an older date is filled in).
        with_groups: whether the collection has a group field (`schemas.collection.has_groups`).
        with_payload: whether the collection has a payload field (`schemas.collection.has_payload`).

    Returns:
        product_id, op, content_hash and source_row (both null if op is deleted), one row per product.
    """
    retry = F.col("partial") & (F.col("snapshot_date") < date)
    group = get_group() if with_groups else F.lit("")
    payload = get_payload_hash() if with_payload else F.lit("")
    held = ledger.select(
        "product_id",
        F.col("content_hash").alias("held_hash"),
        group.alias("held_group"),
        payload.alias("held_payload"),
        retry.alias("retry"),
    )
    wanted = products.select(
        "product_id", "content_hash", "source_row", group.alias("group"), payload.alias("payload_hash")
    )
    both = wanted.join(held, "product_id", "full_outer")
    delivered, served = F.col("content_hash").isNotNull(), F.col("held_hash").isNotNull()
    differs = (F.col("content_hash") != F.col("held_hash")) | F.col("retry") | (F.col("group") != F.col("held_group"))
    columns = ["product_id", "op", "content_hash", "source_row"]
    op = F.when(~served, NEW).when(differs, CHANGED).when(F.col("payload_hash") != F.col("held_payload"), PAYLOAD)
    judged = both.where(delivered).withColumn("op", op).where(F.col("op").isNotNull()).select(*columns)
    changes = _mark_reuse(judged, vectors)
    if with_deletes:
        changes = changes.unionByName(_find_deleted(both.where(~delivered), refused))
    return changes


def select_stale(products: DataFrame, ledger: DataFrame, refused: DataFrame) -> DataFrame:
    """Return product_id of products that stay unchanged in Milvus because their row of the date was refused."""
    ids = ledger.select("product_id").join(refused.select("product_id"), "product_id", "left_semi")
    return ids.join(products.select("product_id"), "product_id", "left_anti")


def _mark_reuse(wanted: DataFrame, vectors: DataFrame) -> DataFrame:
    made = vectors.select(*CONTENT_KEY).distinct().withColumn("made", F.lit(True))
    op = F.when(F.col("made") & (F.col("op") != PAYLOAD), REUSE).otherwise(F.col("op"))
    return wanted.join(made, CONTENT_KEY, "left").select("product_id", op.alias("op"), "content_hash", "source_row")


def _find_deleted(absent: DataFrame, refused: DataFrame) -> DataFrame:
    gone = absent.join(refused.select("product_id"), "product_id", "left_anti")
    return gone.select("product_id", F.lit(DELETED).alias("op"), "content_hash", "source_row")
