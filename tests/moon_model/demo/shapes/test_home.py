from collections.abc import Callable

import numpy as np
import pytest

from moon_model.demo.shapes.home import armchair, cushion, lamp
from moon_model.demo.sketch import Part, Sketch

SHAPES = [lamp, cushion, armchair]


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


def test_an_armchair_has_four_legs() -> None:
    for seed in range(10):
        legs = [i for i in built(armchair, seed).items if isinstance(i, Part) and i.paint in ("wood", "metal", "dark")]
        assert len(legs) == 4
