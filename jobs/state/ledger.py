"""Reads and writes the ledger `served`, the lake's record of the rows in Milvus, and reads vectors for serving.

`served` is append-only: of a product's rows the one with the highest epoch is what the collection holds
(docs/decisions/0006-ledger-and-high-water-date.md). Five numbers are set in the same Delta transactions as the rows and
read together (`LedgerHead`).
"""

from dataclasses import dataclass
from datetime import date as Date

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.errors import NightStoppedError
from jobs.lake.store import Lake
from schemas.tables import CONTENT_KEY

UPSERT, DELETE = "upsert", "delete"
"""Values of ``served.op``."""

LEDGER_COLUMNS = (
    "product_id string, content_hash string, partial boolean, snapshot_date string, epoch long, group_id string, "
    "payload_hash string"
)
"""Spark's schema of what `read_ledger` returns."""

STORED_KEY = [*CONTENT_KEY, "payload_hash"]
"""What identifies a state of a product: a row of `products` that a collection was written from."""

_LEDGER_NAMES = [column.split()[0] for column in LEDGER_COLUMNS.split(", ")]


@dataclass(frozen=True)
class LedgerHead:
    """The current numbers of a collection's ledger.

    Attributes:
        version: number of writes to the ledger; 0 for a collection never served.
        high_water: latest ISO date that the collection served; None for a collection never served.
        epoch: lease epoch of the last finished writer; rows in Milvus with a higher one are of an unfinished run.
        history_start: first ISO date that `read_ledger` can go back to; None where nothing was compacted.
        rows: how many products the collection holds; None where a release before 0.3 wrote the ledger last.
    """

    version: int
    high_water: str | None
    epoch: int
    history_start: str | None
    rows: int | None = None


def read_ledger_head(lake: Lake, collection: str) -> LedgerHead:
    """Return the numbers of a collection's ledger; the table is opened once."""
    table = lake.find("served")
    if table is None:
        return LedgerHead(0, None, 0, None)

    def read(mark: str) -> int:
        return table.transaction_version(f"{mark}:{collection}") or 0

    def read_date(mark: str) -> str | None:
        ordinal = read(mark)
        return Date.fromordinal(ordinal).isoformat() if ordinal else None

    rows = table.transaction_version(f"held:{collection}")
    return LedgerHead(read("ledger"), read_date("highwater"), read("epoch"), read_date("history"), rows)


def make_date_mark(name: str, collection: str, date: str) -> dict[str, int]:
    """Return the application transaction that sets a date of `LedgerHead`, as `Lake.commit` takes it.

    Args:
        name: "highwater" or "history".
        collection: collection of the ledger.
        date: ISO date; stored as its proleptic ordinal.
    """
    return {f"{name}:{collection}": Date.fromisoformat(date).toordinal()}


def make_marks(collection: str, head: LedgerHead) -> dict[str, int]:
    """Return the application transactions that `read_ledger_head` reads, without the ledger's version."""
    marks = {f"epoch:{collection}": head.epoch}
    for name, date in (("highwater", head.high_water), ("history", head.history_start)):
        marks |= make_date_mark(name, collection, date) if date else {}
    return marks | ({f"held:{collection}": head.rows} if head.rows is not None else {})


def commit_ledger(
    lake: Lake,
    collection: str,
    upserts: DataFrame,
    deleted_ids: DataFrame,
    *,
    date: str,
    head: LedgerHead,
    expected_rows: int,
    attempt: str | None,
) -> None:
    """Commit the upserts and deletes of a writer to a collection's ledger.

    Args:
        lake, collection: lake and collection of the ledger.
        upserts: the columns of `LEDGER_COLUMNS`, one row for each row that was written.
        deleted_ids: product_id of the rows that were deleted.
        date: ISO date of the deletes.
        head: the numbers afterwards. Its version is the one that the writer started from: the commit fails if another
            writer was first. Without a history_start that of the ledger stays.
        expected_rows: upserts and deletes that Milvus was sent.
        attempt: names the work, for `Lake.commit`; None where the ledger's version alone guards it.

    Raises:
        NightStoppedError: the number of rows differs from `expected_rows`.
        FenceError: another writer wrote the ledger.
    """
    deletes = deleted_ids.select(
        "product_id",
        F.lit(DELETE).alias("op"),
        F.lit(None).cast("string").alias("content_hash"),
        F.lit(date).alias("snapshot_date"),
        F.lit(head.epoch).cast("long").alias("epoch"),
        F.lit(False).alias("partial"),
        F.lit(None).cast("string").alias("group_id"),
        F.lit(None).cast("string").alias("payload_hash"),
    )
    rows = upserts.withColumn("op", F.lit(UPSERT)).unionByName(deletes)
    files = lake.write(rows, "served", {"collection": collection})
    written = sum(file.rows for file in files)
    if written != expected_rows:
        raise NightStoppedError(
            f"Milvus was sent {expected_rows:,} changes, the ledger would get {written:,}: the lake changed while they "
            "were written. Run the same command again"
        )
    lake.commit(
        "served",
        files,
        attempt=attempt,
        partition={"collection": collection},
        counter=(f"ledger:{collection}", head.version),
        marks=make_marks(collection, head),
    )


def read_ledger(spark: SparkSession, lake: Lake, collection: str, date: str | None = None) -> DataFrame:
    """Return the rows that a collection holds, one per product.

    Args:
        spark, lake, collection: session, lake and collection of the ledger.
        date: ISO date; return the state after that date's run instead of the current one. Rows that a restore wrote
            have their original dates, so they do not change the state of the restored date.

    Returns:
        product_id, content_hash, partial, snapshot_date (ISO, of the run that wrote the row), epoch, group_id and
        payload_hash (empty without a payload).
    """
    rows = lake.read(spark, "served", {"collection": collection})
    if date is not None:
        rows = rows.where(F.col("snapshot_date") <= date)
    state = F.struct("epoch", "op", "content_hash", "partial", "snapshot_date", "group_id", "payload_hash")
    latest = rows.groupBy("product_id").agg(F.max_by(state, "epoch").alias("state"))
    held = latest.where(F.col("state.op") != DELETE).select("product_id", "state.*")
    columns = {"group_id": get_group(), "payload_hash": get_payload_hash()}
    return held.withColumns(columns).select(*_LEDGER_NAMES)


def get_group() -> Column:
    """Return the group of a row of `products` or `served`; without a group, the product id."""
    return F.coalesce("group_id", "product_id")


def get_payload_hash() -> Column:
    """Return the payload's hash of a row of `products` or `served`; empty without a payload."""
    return F.coalesce("payload_hash", F.lit(""))


def keys_held_since(spark: SparkSession, lake: Lake, collection: str, first_kept: str) -> DataFrame:
    """Return the columns of `STORED_KEY` of all rows held at the end of any date from ``first_kept`` on."""
    rows = compact_history(lake.read(spark, "served", {"collection": collection}), first_kept)
    held = rows.where(F.col("op") != DELETE).withColumn("payload_hash", get_payload_hash())
    return held.select(*STORED_KEY).distinct()


def compact_history(rows: DataFrame, first_kept: str) -> DataFrame:
    """Return a ledger's rows with the history up to a date replaced by the state at the end of that date.

    Args:
        rows: all rows of `served` of one collection.
        first_kept: ISO date; the states at its end and at the end of any later date can still be read.
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
    """Return the vectors of one model for the wanted contents, one row per (product_id, content_hash) with a vector.

    If a content has several vectors, a complete one is preferred to a partial one, then the latest.

    Args:
        spark, lake: session and lake.
        model_version: the model that created the vectors.
        wanted: product_id and content_hash, such as a plan's `changes`; other vectors are not shuffled.

    Returns:
        product_id, content_hash, vector (float array), partial and date.
    """
    rows = lake.read(spark, "vectors", {"model_version": model_version}).join(wanted, CONTENT_KEY, "left_semi")
    best = F.max_by(F.struct("vector", "partial", "date"), F.struct(~F.col("partial"), "date"))
    grouped = rows.groupBy(*CONTENT_KEY).agg(best.alias("best"))
    return grouped.select(*CONTENT_KEY, "best.vector", "best.partial", "best.date")
