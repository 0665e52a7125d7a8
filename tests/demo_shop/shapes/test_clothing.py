import pytest

from demo_shop.shapes.clothing import boot, cap, dress, sneaker, t_shirt, trousers
from tests.demo_shop.shapes.building import Shape, assert_finite_and_mostly_main, built, proportions

SHAPES = [t_shirt, dress, trousers, sneaker, boot, cap]


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_finite_varied_and_mostly_main(shape: Shape) -> None:
    assert_finite_and_mostly_main(shape)
    assert len(proportions(shape)) > 6


def test_clothes_are_symmetric() -> None:
    for shape in (t_shirt, dress, trousers):
        low, high = built(shape, 1).bounds()
        assert low[0] == pytest.approx(-high[0], abs=0.06)
