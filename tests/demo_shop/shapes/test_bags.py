import pytest

from demo_shop.shapes.bags import sketch_backpack, sketch_handbag, sketch_umbrella, sketch_watch
from demo_shop.sketch import Stroke
from tests.demo_shop.shapes.building import Shape, assert_finite_and_mostly_main, built, proportions

SHAPES = [sketch_backpack, sketch_handbag, sketch_watch, sketch_umbrella]


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_finite_varied_and_mostly_main(shape: Shape) -> None:
    assert_finite_and_mostly_main(shape)
    assert len(proportions(shape)) > 6


def test_a_watch_shows_twelve_hours_and_two_hands() -> None:
    cords = [i for i in built(sketch_watch, 2).items if isinstance(i, Stroke) and i.paint is not None]
    assert len(cords) == 14
