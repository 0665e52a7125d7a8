"""The speed benchmark encodes all products in all processes; no time is asserted."""

import pytest

from benchmarks.encode_speed import make_products, measure_processes, parse_speed_arguments
from moon_model.images import decode_image


def test_products_carry_their_photos_as_bytes() -> None:
    products = make_products(2, images=2, size=96)
    assert [len(product.images) for product in products] == [2, 2]
    assert min(decode_image(products[0].images[0]).size) == 96
    assert products[0].title
    assert products[0].category


@pytest.mark.long
def test_two_processes_encode_everything() -> None:
    timings = measure_processes(parse_speed_arguments(["--products", "2", "--processes", "2", "--dtype", "float32"]))
    assert [timing.products for timing in timings] == [2, 2]
    assert all(timing.tokens > 16 and timing.prepare_ms > 0 and timing.encode_ms > 0 for timing in timings)
