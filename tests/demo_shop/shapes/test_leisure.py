import pytest

from demo_shop.shapes.leisure import ball, guitar
from tests.demo_shop.shapes.building import Shape, assert_finite_and_mostly_main, built, proportions

SHAPES = [guitar, ball]


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_finite_and_mostly_main(shape: Shape) -> None:
    assert_finite_and_mostly_main(shape)


def test_guitars_differ_in_proportion() -> None:
    assert len(proportions(guitar)) > 6


def test_a_ball_is_round_and_a_guitar_long() -> None:
    for shape, ratio in ((ball, 1.0), (guitar, 1.6)):
        low, high = built(shape, 3).bounds()
        assert (high[1] - low[1]) / (high[0] - low[0]) >= ratio * 0.95
