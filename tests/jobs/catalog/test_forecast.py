from dataclasses import replace

import pytest

from jobs.catalog.forecast import DeliveryCounts, forecast_nights
from schemas.product import ImageRef
from schemas.source import MappedRow
from validation.shares import SnapshotCounter


def make_counts(rows: int = 1000, untitled: int = 0, **numbers: int) -> DeliveryCounts:
    counter = SnapshotCounter()
    for number in range(rows):
        title = None if number < untitled else "Mug"
        counter.add(MappedRow(str(number), title, images=[ImageRef("x", None)]), is_refused=title is None)
    first, second = (counter.compute_shares(is_repeated=is_repeated) for is_repeated in (False, True))
    counts = DeliveryCounts(rows, untitled, 0, rows, 0, first, second)
    return replace(counts, **numbers)


def test_a_sound_delivery_stops_no_night(make_settings) -> None:
    forecast = forecast_nights(make_counts(refused=50, lost=100, unreached=100), make_settings())
    assert (forecast.stops, forecast.second_stops, forecast.least_accepted) == ((), (), 0.0)


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (make_counts(untitled=201), "the gate: share of rows without a title: 0.201, expected at most 0.2"),
        (make_counts(rows=0), "the gate: rows of the snapshot: 0, expected at least 1"),
        (make_counts(refused=1000), "none of the 1,000 products is valid"),
        (make_counts(unreached=101), "101 of 1,000 photos are missing or cannot be reached (10.1%)"),
    ],
)
def test_what_stops_the_first_night(counts: DeliveryCounts, words: str, make_settings) -> None:
    forecast = forecast_nights(counts, make_settings())
    assert words in forecast.stops[0]
    assert forecast.second_stops == ()


def test_the_first_night_only_warns_of_refusals_and_the_second_lets_pass_what_the_first_had(make_settings) -> None:
    forecast = forecast_nights(make_counts(untitled=150), make_settings())
    assert (forecast.stops, forecast.second_stops) == ((), ())
    assert forecast.least_accepted == pytest.approx(0.1)  # 15% less 5 points
    assert forecast_nights(make_counts(untitled=150), make_settings(max_refusals=0.2)).least_accepted == 0.0


def test_products_without_a_usable_photo_stop_the_second_night(make_settings) -> None:
    forecast = forecast_nights(make_counts(lost=101), make_settings())
    assert forecast.stops == ()
    assert "101 of 1,000 products have no photo that can be used (10.1%)" in forecast.second_stops[0]
