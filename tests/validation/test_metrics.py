import pytest
from pyspark.sql.pandas.types import from_arrow_schema

from schemas.tables import SNAPSHOTS
from validation.metrics import compute_snapshot_metrics
from validation.rules import RowLimits
from validation.shares import METRIC_MEANINGS

LIMITS = RowLimits(title=20, description=30, images=3, roots=("file:///shop",))
IMAGE = [{"uri": "file:///shop/a.jpg", "version": None}]
GOOD = {
    "source_row": 0, "product_id": "p", "title": "Mug", "description": "d", "category": ["Home", "Mugs"],
    "attributes": {}, "attributes_error": None, "row_error": None, "images": IMAGE,
}  # fmt: skip


@pytest.fixture
def frame(spark):
    return lambda rows: spark.createDataFrame(rows, from_arrow_schema(SNAPSHOTS.columns))


def test_one_row_measures_the_snapshot_and_compares_it(frame):
    snapshot = frame(
        [
            {**GOOD, "product_id": "1"},
            {**GOOD, "product_id": "1", "category": []},
            {**GOOD, "product_id": " ", "title": None, "category": None},
            {**GOOD, "product_id": None, "category": ["Garden"], "images": []},
            {**GOOD, "product_id": "2", "description": None, "category": ["Toys"], "images": None},
        ]
    )
    earlier = frame([{**GOOD, "category": [root]} for root in ("Home", "Home", "Garden", "Food", "Tools")] * 2)
    metrics = compute_snapshot_metrics(
        snapshot, earlier, LIMITS, date="2026-01-02", columns="c", earlier_date="2026-01-01"
    )
    assert list(metrics.columns) == list(METRIC_MEANINGS)
    assert metrics.iloc[0].to_dict() == {
        "snapshot_date": "2026-01-02",
        "earlier_date": "2026-01-01",
        "columns": "c",
        "rows": 5,
        "earlier_rows": 10,
        "row_ratio": 0.5,
        "null_id_share": 0.4,
        "null_title_share": 0.2,
        "null_description_share": 0.2,
        "null_category_share": 0.4,
        "null_image_share": 0.4,
        "duplicate_share": 0.25,
        "refused_share": 0.6,
        "categories": 3,
        "category_coverage": 0.5,
    }


def test_a_first_run_compares_with_nothing(frame):
    row = compute_snapshot_metrics(frame([GOOD]), None, LIMITS, date="2026-01-02", columns="c").iloc[0]
    assert (row["earlier_rows"], row["row_ratio"], row["category_coverage"]) == (0, 1.0, 1.0)
    assert row["refused_share"] == row["duplicate_share"] == 0.0


def test_an_empty_snapshot_has_metrics_too(frame):
    row = compute_snapshot_metrics(frame([]), frame([GOOD]), LIMITS, date="2026-01-02", columns="c").iloc[0]
    assert (row["rows"], row["row_ratio"], row["category_coverage"]) == (0, 0.0, 0.0)
