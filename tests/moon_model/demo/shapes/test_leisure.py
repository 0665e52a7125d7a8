from collections.abc import Callable

import numpy as np
import pytest

from moon_model.demo.shapes.leisure import ball, guitar
from moon_model.demo.sketch import Part, Sketch

SHAPES = [guitar, ball]


def built(shape: Callable[[Sketch], None], seed: int) -> Sketch:
    sketch = Sketch(np.random.default_rng(seed))
    shape(sketch)
    return sketch


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_finite_varied_and_mostly_main(shape: Callable[[Sketch], None]) -> None:
    widths = set()
    for seed in range(12):
        low, high = built(shape, seed).bounds()
        assert np.isfinite([low, high]).all()
        assert ((high - low) > 0.3).all()
        widths.add(round(float((high - low)[0] / (high - low)[1]), 4))
        assert any(isinstance(item, Part) and item.paint == "main" for item in built(shape, seed).items)
    assert len(widths) > 6 or shape.__name__ == "ball"


def test_a_ball_is_round_and_a_guitar_long() -> None:
    for shape, ratio in ((ball, 1.0), (guitar, 1.6)):
        low, high = built(shape, 3).bounds()
        assert (high[1] - low[1]) / (high[0] - low[0]) >= ratio * 0.95
