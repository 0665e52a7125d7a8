"""Metrics of a whole snapshot from counts of its rows, and the counts in Python, for who has the rows in memory.

The stage validate counts with Spark (`validation.metrics`), `moon check-source` row by row with `SnapshotCounter`.
"""

from collections import Counter
from collections.abc import Mapping

from schemas.source import MappedRow
from validation.rules import is_invisible

METRIC_MEANINGS: dict[str, str] = {
    "snapshot_date": "the snapshot's date",
    "earlier_date": "the latest earlier date that passed its gate; empty on the first run",
    "columns": "names and types of the snapshot's columns",
    "rows": "rows of the snapshot",
    "earlier_rows": "rows of the earlier date",
    "row_ratio": "rows of the snapshot over rows of the earlier date; 1 on the first run",
    "null_id_share": "share of rows without a product id",
    "null_title_share": "share of rows without a title",
    "null_description_share": "share of rows without a description",
    "null_category_share": "share of rows without a category",
    "null_image_share": "share of rows without an image",
    "duplicate_share": "share of ids that occur in an earlier row",
    "refused_share": "share of rows that break a row rule, duplicates not counted",
    "categories": "distinct top categories of the snapshot",
    "category_coverage": "share of the earlier date's top categories that are still there; 1 on the first run",
}
"""Columns of the frame, in order, and what they mean."""

NULL_FLAGS = ("null_id", "null_title", "null_description", "null_category", "null_image")


def compute_shares(measured: Mapping[str, int]) -> dict[str, float | int]:
    """Return the metrics that follow from counts of rows, ids and categories of a snapshot and of an earlier one."""
    rows = measured["rows"]
    earlier = measured["earlier_rows"]
    # |A and B| = |A| + |B| - |A or B|
    kept = measured["categories"] + measured["earlier_categories"] - measured["all_categories"]
    return {
        "rows": rows,
        "earlier_rows": earlier,
        "row_ratio": rows / earlier if earlier else 1.0,
        **{f"{name}_share": _divide(measured[name], rows) for name in (*NULL_FLAGS, "refused")},
        "duplicate_share": _divide(measured["ids"] - measured["distinct_ids"], measured["ids"]),
        "categories": measured["categories"],
        "category_coverage": _divide(kept, measured["earlier_categories"], default=1.0),
    }


class SnapshotCounter:
    """Counts what the gate measures of a snapshot, row by row, as `validation.metrics` does with Spark."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._ids: set[str] = set()
        self._categories: set[str] = set()

    def add(self, row: MappedRow, *, is_refused: bool) -> None:
        """Count a row, or a product of several; `is_refused`: it breaks a row rule."""
        empty = (
            is_invisible(row.product_id), is_invisible(row.title), is_invisible(row.description), not row.category,
            not row.images,
        )  # fmt: skip
        self._counts.update(name for name, is_empty in zip(NULL_FLAGS, empty, strict=True) if is_empty)
        self._counts["rows"] += 1
        self._counts["refused"] += is_refused
        self._categories.update(row.category[:1])
        if row.product_id is not None:
            self._counts["ids"] += 1
            self._ids.add(row.product_id)

    def compute_shares(self, *, is_repeated: bool) -> dict[str, float | int]:
        """Return the metrics of the snapshot on a first run or, if `is_repeated`, on one after the same snapshot."""
        categories = len(self._categories)
        measured = {name: self._counts[name] for name in ("rows", *NULL_FLAGS, "refused", "ids")}
        measured |= {"distinct_ids": len(self._ids), "categories": categories, "all_categories": categories}
        measured |= {
            "earlier_rows": measured["rows"] if is_repeated else 0,
            "earlier_categories": categories if is_repeated else 0,
        }
        return compute_shares(measured)


def _divide(part: int, whole: int, default: float = 0.0) -> float:
    return part / whole if whole else default
