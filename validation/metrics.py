"""All metrics of a snapshot, in one Spark aggregation: the one-row table that the gate tests."""

from typing import TYPE_CHECKING

import pandas as pd
from pyspark.sql import Column
from pyspark.sql import functions as F

from validation.rules import RowLimits, find_faults, is_invisible

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

METRIC_MEANINGS: dict[str, str] = {
    "snapshot_date": "the date",
    "earlier_date": "the latest earlier date that passed its gate; empty on the first night",
    "columns": "names and types of the snapshot's columns",
    "rows": "rows tonight",
    "earlier_rows": "rows of the earlier date",
    "row_ratio": "rows tonight over rows of the earlier date; 1 on the first night",
    "null_id_share": "share of rows without a product id",
    "null_title_share": "share of rows without a title",
    "null_description_share": "share of rows without a description",
    "null_category_share": "share of rows without a category",
    "null_image_share": "share of rows without an image",
    "duplicate_share": "share of ids that occur in an earlier row",
    "refused_share": "share of rows that break a row rule, duplicates not counted",
    "categories": "distinct top categories tonight",
    "category_coverage": "share of the earlier date's top categories that are still there; 1 on the first night",
}
"""Columns of the frame, in order, and what they mean."""


def compute_snapshot_metrics(
    tonight: "DataFrame",
    earlier: "DataFrame | None",
    limits: RowLimits,
    *,
    date: str,
    columns: str,
    earlier_date: str = "",
) -> pd.DataFrame:
    """Measure a snapshot, and compare it with an earlier one.

    Args:
        tonight: rows of `snapshots` of the night's date.
        earlier: rows of `snapshots` of the earlier date, None on the first night.
        limits: of the row rules.
        date, earlier_date: names for the report.
        columns: names and types of the table's columns as it is stored.

    Returns:
        One row with the columns of `METRIC_MEANINGS`.
    """
    rows = _flagged(tonight, limits, is_tonight=True)
    if earlier is not None:
        rows = rows.unionByName(_flagged(earlier, limits, is_tonight=False))
    measured = rows.agg(*_aggregates()).head().asDict()  # type: ignore[union-attr]
    metrics = {"snapshot_date": date, "earlier_date": earlier_date, "columns": columns, **_shares(measured)}
    return pd.DataFrame([{name: metrics[name] for name in METRIC_MEANINGS}])


def _flagged(rows: "DataFrame", limits: RowLimits, *, is_tonight: bool) -> "DataFrame":
    """Keep of each row what the aggregation needs; of the earlier date only the category."""
    return rows.select(
        F.lit(is_tonight).alias("tonight"),
        F.get("category", F.lit(0)).alias("root"),
        (F.col("product_id") if is_tonight else F.lit(None)).alias("id"),
        _flag(is_tonight, is_invisible("product_id")).alias("null_id"),
        _flag(is_tonight, is_invisible("title")).alias("null_title"),
        _flag(is_tonight, is_invisible("description")).alias("null_description"),
        _flag(is_tonight, F.coalesce(F.size("category") == 0, F.lit(True))).alias("null_category"),
        _flag(is_tonight, F.coalesce(F.size("images") == 0, F.lit(True))).alias("null_image"),
        _flag(is_tonight, F.size(find_faults(limits)) > 0).alias("refused"),
    )


NULL_FLAGS = ("null_id", "null_title", "null_description", "null_category", "null_image")


def _aggregates() -> list[Column]:
    tonight, root = F.col("tonight"), F.col("root")
    return [
        F.count_if(tonight).alias("rows"),
        F.count_if(~tonight).alias("earlier_rows"),
        *(F.count_if(F.col(name)).alias(name) for name in (*NULL_FLAGS, "refused")),
        F.count("id").alias("ids"),
        F.count_distinct("id").alias("distinct_ids"),
        F.count_distinct(F.when(tonight, root)).alias("categories"),
        F.count_distinct(F.when(~tonight, root)).alias("earlier_categories"),
        F.count_distinct(root).alias("all_categories"),
    ]


def _shares(measured: dict[str, int]) -> dict[str, float | int]:
    rows, earlier = measured["rows"], measured["earlier_rows"]
    kept = measured["categories"] + measured["earlier_categories"] - measured["all_categories"]
    return {
        "rows": rows,
        "earlier_rows": earlier,
        "row_ratio": rows / earlier if earlier else 1.0,
        **{f"{name}_share": _share(measured[name], rows) for name in (*NULL_FLAGS, "refused")},
        "duplicate_share": _share(measured["ids"] - measured["distinct_ids"], measured["ids"]),
        "categories": measured["categories"],
        "category_coverage": _share(kept, measured["earlier_categories"], default=1.0),
    }


def _share(part: int, whole: int, default: float = 0.0) -> float:
    return part / whole if whole else default


def _flag(is_tonight: bool, condition: Column) -> Column:
    return condition if is_tonight else F.lit(False)
