import pytest

from schemas.product import ImageRef
from schemas.source import MappedRow
from validation.shares import METRIC_MEANINGS, SnapshotCounter

IMAGE = [ImageRef("file:///shop/a.jpg", None)]
ROWS = [
    MappedRow("1", "Mug", "d", ["Home", "Mugs"], images=IMAGE),
    MappedRow("1", "Mug", "d", [], images=IMAGE),
    MappedRow(" ", None, "d", [], images=IMAGE),
    MappedRow(None, "Mug", "d", ["Garden"], images=[]),
    MappedRow("2", "Mug", None, ["Toys"], images=[]),
]


def count(rows: list[MappedRow]) -> SnapshotCounter:
    counter = SnapshotCounter()
    for row in rows:
        counter.add(row, is_refused=not row.images or not row.title)
    return counter


def test_rows_in_memory_are_measured_as_spark_measures_them() -> None:
    # The numbers are those of tests/validation/test_metrics.py for the same rows.
    shares = count(ROWS).compute_shares(is_repeated=False)
    assert shares == {
        "rows": 5, "earlier_rows": 0, "row_ratio": 1.0, "null_id_share": 0.4, "null_title_share": 0.2,
        "null_description_share": 0.2, "null_category_share": 0.4, "null_image_share": 0.4, "duplicate_share": 0.25,
        "refused_share": 0.6, "categories": 3, "category_coverage": 1.0,
    }  # fmt: skip
    assert set(shares) < set(METRIC_MEANINGS)


def test_a_second_night_has_the_same_rows_before_it() -> None:
    shares = count(ROWS).compute_shares(is_repeated=True)
    assert (shares["earlier_rows"], shares["row_ratio"], shares["category_coverage"]) == (5, 1.0, 1.0)


@pytest.mark.parametrize("is_repeated", [False, True])
def test_no_row_has_no_shares(is_repeated: bool) -> None:
    assert SnapshotCounter().compute_shares(is_repeated=is_repeated)["duplicate_share"] == 0.0
