import pytest

from demo_shop.shapes.home import sketch_armchair, sketch_cushion, sketch_lamp
from demo_shop.sketch import SketchPart
from tests.demo_shop.shapes.building import Shape, assert_finite_and_mostly_main, built, proportions

SHAPES = [sketch_lamp, sketch_cushion, sketch_armchair]


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_finite_varied_and_mostly_main(shape: Shape) -> None:
    assert_finite_and_mostly_main(shape)
    assert len(proportions(shape)) > 6


def test_an_armchair_has_four_legs() -> None:
    for seed in range(10):
        legs = [
            i
            for i in built(sketch_armchair, seed).items
            if isinstance(i, SketchPart) and i.paint in ("wood", "metal", "dark")
        ]
        assert len(legs) == 4
