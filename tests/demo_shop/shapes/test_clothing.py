import pytest

from demo_shop.shapes.clothing import (
    sketch_boot,
    sketch_cap,
    sketch_dress,
    sketch_sneaker,
    sketch_t_shirt,
    sketch_trousers,
)
from tests.demo_shop.shapes.building import Shape, assert_finite_and_mostly_main, built, proportions

SHAPES = [sketch_t_shirt, sketch_dress, sketch_trousers, sketch_sneaker, sketch_boot, sketch_cap]


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_finite_varied_and_mostly_main(shape: Shape) -> None:
    assert_finite_and_mostly_main(shape)
    assert len(proportions(shape)) > 6


def test_clothes_are_symmetric() -> None:
    for shape in (sketch_t_shirt, sketch_dress, sketch_trousers):
        low, high = built(shape, 1).compute_bounds()
        assert low[0] == pytest.approx(-high[0], abs=0.06)
