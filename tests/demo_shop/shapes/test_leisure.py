import pytest

from demo_shop.shapes.leisure import sketch_ball, sketch_guitar
from tests.demo_shop.shapes.building import Shape, assert_finite_and_mostly_main, built, proportions

SHAPES = [sketch_guitar, sketch_ball]


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_finite_and_mostly_main(shape: Shape) -> None:
    assert_finite_and_mostly_main(shape)


def test_guitars_differ_in_proportion() -> None:
    assert len(proportions(sketch_guitar)) > 6


def test_a_ball_is_round_and_a_guitar_long() -> None:
    for shape, ratio in ((sketch_ball, 1.0), (sketch_guitar, 1.6)):
        low, high = built(shape, 3).compute_bounds()
        assert (high[1] - low[1]) / (high[0] - low[0]) >= ratio * 0.95
