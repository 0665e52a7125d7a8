import pytest

from demo_shop.shapes.home import armchair, cushion, lamp
from demo_shop.sketch import Part
from tests.demo_shop.shapes.building import Shape, assert_finite_and_mostly_main, built, proportions

SHAPES = [lamp, cushion, armchair]


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_finite_varied_and_mostly_main(shape: Shape) -> None:
    assert_finite_and_mostly_main(shape)
    assert len(proportions(shape)) > 6


def test_an_armchair_has_four_legs() -> None:
    for seed in range(10):
        legs = [i for i in built(armchair, seed).items if isinstance(i, Part) and i.paint in ("wood", "metal", "dark")]
        assert len(legs) == 4
