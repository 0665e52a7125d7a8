"""Merges the rows of a snapshot into products in Spark: one shuffle by product id, and one more for parents.

The merge rules are in `schemas.merging`, which `moon check-source` uses too. The table `snapshots` is not changed.
"""

import json
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.sql import functions as F

from jobs.catalog.source import load_mapping
from jobs.state.run_context import RunContext
from schemas.merging import (
    ID_REFERENCE,
    MergedRow,
    MergeRules,
    NumberedRow,
    build_merge_rules,
    join_parent,
    merge_group,
)
from schemas.product import ImageRef
from schemas.source import MappedRow
from schemas.tables import LEFT_OUT, MERGED, ROW_ROLES, SNAPSHOTS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

BATCH_PRODUCTS = 512

MERGED_SCHEMA = pa.schema(
    [
        *SNAPSHOTS.columns,
        pa.field("group_id", pa.string()),
        pa.field("source_rows", pa.list_(pa.int64())),
        pa.field("is_left_out", pa.bool_()),
    ]
)
"""Columns of a merged snapshot: a product's with its group (null without a parent), the rows that it was made of, and
whether ``where`` leaves it out."""


def read_merge_rules(context: RunContext) -> MergeRules | None:
    """Return the merge rules of the run's mapping; None if each row is a product.

    Raises:
        NightStoppedError: A catalogue is set, and its mapping is missing or cannot be used.
    """
    return build_merge_rules(load_mapping(context)) if context.settings.catalog else None


def merge_rows(snapshot: "DataFrame", rules: MergeRules) -> "DataFrame":
    """Return the products of a snapshot with the columns of `MERGED_SCHEMA`, including those that are left out.

    Args:
        snapshot: rows of `snapshots` of one date.
        rules: from `read_merge_rules`.
    """
    from pyspark.sql.pandas.types import from_arrow_schema  # noqa: PLC0415  (spares readers without Spark)

    rows = snapshot.select(*SNAPSHOTS.columns.names)
    if rules.parent_column:
        rows = _join_parents(rows, rules)
    if rules.has_key:
        # Rows without an id are not merged: they are distributed over the tasks instead of sent to one.
        key = F.xxhash64(F.coalesce("product_id", F.col("source_row").cast("string")))
        rows = rows.repartition(key).sortWithinPartitions("product_id", "source_row")
    return rows.mapInArrow(partial(merge_batches, rules=rules), from_arrow_schema(MERGED_SCHEMA))


def select_roles(merged: "DataFrame") -> "DataFrame":
    """Return the rows of `row_roles`: every row that is not a product of its own.

    Args:
        merged: from `merge_rows`.
    """
    is_left_out = F.col("is_left_out")
    rows = merged.select("*", F.posexplode("source_rows").alias("position", "row"))
    return rows.where(is_left_out | (F.col("position") > 0)).select(
        F.col("row").alias("source_row"),
        "product_id",
        F.when(is_left_out, LEFT_OUT).otherwise(MERGED).alias("role"),
        F.when(~is_left_out, F.col("source_row")).alias("product_row"),
    )


def count_roles(context: RunContext) -> dict[str, int]:
    """Return the numbers of rows of the run's date that are merged into another product and that are left out."""
    counts = {MERGED: 0, LEFT_OUT: 0}
    if context.lake.count(ROW_ROLES.name, context.partition):
        roles = context.lake.read(context.spark, ROW_ROLES.name, context.partition)
        counts |= {row["role"]: row["count"] for row in roles.groupBy("role").count().collect()}
    return counts


def merge_batches(batches: Iterable[pa.RecordBatch], rules: MergeRules) -> Iterator[pa.RecordBatch]:
    """Yield merged products as batches of `MERGED_SCHEMA`.

    Args:
        batches: rows of `snapshots`, optionally with the column ``parent``; with `MergeRules.has_key` the rows of a
            product id must be adjacent and in ascending order of their number.
        rules: from `read_merge_rules`.
    """
    rows = (_read_row(record, rules) for batch in batches for record in batch.to_pylist())
    waiting: list[dict[str, object]] = []
    for _, group in groupby(rows, key=lambda numbered: numbered[1].product_id):
        waiting += [_write_row(product) for product in merge_group(list(group), rules)]
        if len(waiting) >= BATCH_PRODUCTS:
            yield pa.RecordBatch.from_pylist(waiting, schema=MERGED_SCHEMA)
            waiting = []
    if waiting:
        yield pa.RecordBatch.from_pylist(waiting, schema=MERGED_SCHEMA)


def _join_parents(rows: "DataFrame", rules: MergeRules) -> "DataFrame":
    """Return the rows with the row of their parent as the column ``parent``, null if there is none."""
    value = F.col("source_values")
    named = value[rules.parent_column]
    by_id = F.concat(F.lit(ID_REFERENCE), value[rules.parent_id])
    wanted = rows.select(named.alias("reference")).where("reference IS NOT NULL").distinct()
    parents = (
        rows.select(F.explode(F.array(value[rules.parent_key], by_id)).alias("reference"), F.struct("*").alias("row"))
        .join(wanted, "reference", "left_semi")
        .groupBy("reference")
        .agg(F.min_by("row", "row.source_row").alias("parent"))
    )
    # Most rows have no parent: a unique join key distributes them over the tasks of the join.
    nobody = F.concat(F.lit("\0"), F.col("source_row").cast("string"))
    return rows.withColumn("reference", F.coalesce(named, nobody)).join(parents, "reference", "left").drop("reference")


def _read_row(record: dict[str, Any], rules: MergeRules) -> NumberedRow:
    parent = record.pop("parent", None)
    row = _make_row(record)
    return record["source_row"], join_parent(row, parent and _make_row(parent), rules)


def _make_row(record: dict[str, Any]) -> MappedRow:
    return MappedRow(
        product_id=record["product_id"],
        title=record["title"],
        description=record["description"],
        category=record["category"] or [],
        attributes=None if record["attributes"] is None else dict(record["attributes"]),
        attributes_error=record["attributes_error"],
        row_error=record["row_error"],
        images=[ImageRef(**image) for image in record["images"] or ()],
        source_values=None if record["source_values"] is None else dict(record["source_values"]),
        payload=None if record["payload"] is None else json.loads(record["payload"]),
        payload_errors=None if record["payload_errors"] is None else dict(record["payload_errors"]),
    )


def _write_row(product: MergedRow) -> dict[str, object]:
    return {
        **product.row.to_record(),
        "group_id": product.row.group_id,
        "source_row": product.source_rows[0],
        "source_rows": list(product.source_rows),
        "is_left_out": product.is_left_out,
    }
