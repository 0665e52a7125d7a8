import pytest

from demo_shop.shapes.tableware import bottle, bowl, mug, teapot, vase
from demo_shop.sketch import Part
from tests.demo_shop.shapes.building import Shape, assert_finite_and_mostly_main, built, proportions

SHAPES = [mug, bowl, teapot, bottle, vase]


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_finite_varied_and_mostly_main(shape: Shape) -> None:
    assert_finite_and_mostly_main(shape)
    assert len(proportions(shape)) > 6


def test_open_vessels_show_their_inside() -> None:
    for shape in (mug, bowl, vase):
        assert any(isinstance(item, Part) and item.paint == "inside" for item in built(shape, 0).items)
