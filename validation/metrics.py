"""Metrics of a whole snapshot, computed in one Spark aggregation: the one-row table that the gate tests."""

from typing import TYPE_CHECKING

import pandas as pd
from pyspark.sql import Column
from pyspark.sql import functions as F

from validation.rules import RowLimits
from validation.shares import METRIC_MEANINGS, NULL_FLAGS, compute_shares
from validation.spark_rules import build_faults, is_invisible

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def compute_snapshot_metrics(
    snapshot: "DataFrame",
    earlier: "DataFrame | None",
    limits: RowLimits,
    *,
    date: str,
    columns: str,
    earlier_date: str = "",
) -> pd.DataFrame:
    """Return the metrics of a snapshot, compared with those of an earlier one.

    Args:
        snapshot: Rows of `snapshots` of the run's date.
        earlier: Rows of `snapshots` of the earlier date; None on the first run.
        limits: The numbers in the row rules.
        date: The run's date, for the report.
        columns: Names and types of the table's columns as it is stored.
        earlier_date: The earlier date, for the report.

    Returns:
        One row with the columns of `METRIC_MEANINGS`.
    """
    rows = _flag_rows(snapshot, limits, is_current=True)
    if earlier is not None:
        rows = rows.unionByName(_flag_rows(earlier, limits, is_current=False))
    measured = rows.agg(*_build_aggregates()).head().asDict()  # type: ignore[union-attr]
    metrics = {"snapshot_date": date, "earlier_date": earlier_date, "columns": columns, **compute_shares(measured)}
    return pd.DataFrame([{name: metrics[name] for name in METRIC_MEANINGS}])


def _flag_rows(rows: "DataFrame", limits: RowLimits, *, is_current: bool) -> "DataFrame":
    """Return the columns that the aggregation needs; for the earlier date only the top category."""
    return rows.select(
        F.lit(is_current).alias("is_current"),
        F.get("category", F.lit(0)).alias("root"),
        (F.col("product_id") if is_current else F.lit(None)).alias("id"),
        _flag(is_current, is_invisible(F.col("product_id"))).alias("null_id"),
        _flag(is_current, is_invisible(F.col("title"))).alias("null_title"),
        _flag(is_current, is_invisible(F.col("description"))).alias("null_description"),
        _flag(is_current, F.coalesce(F.size("category") == 0, F.lit(True))).alias("null_category"),
        _flag(is_current, F.coalesce(F.size("images") == 0, F.lit(True))).alias("null_image"),
        _flag(is_current, F.size(build_faults(limits)) > 0).alias("refused"),
    )


def _build_aggregates() -> list[Column]:
    is_current = F.col("is_current")
    root = F.col("root")
    return [
        F.count_if(is_current).alias("rows"),
        F.count_if(~is_current).alias("earlier_rows"),
        *(F.count_if(F.col(name)).alias(name) for name in (*NULL_FLAGS, "refused")),
        F.count("id").alias("ids"),
        F.count_distinct("id").alias("distinct_ids"),
        F.count_distinct(F.when(is_current, root)).alias("categories"),
        F.count_distinct(F.when(~is_current, root)).alias("earlier_categories"),
        F.count_distinct(root).alias("all_categories"),
    ]


def _flag(is_current: bool, condition: Column) -> Column:
    return condition if is_current else F.lit(False)
