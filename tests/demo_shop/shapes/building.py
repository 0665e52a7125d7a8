"""Helpers of the shape tests: build a shape, and assert what holds for all of them."""

from collections.abc import Callable

import numpy as np

from demo_shop.sketch import Sketch, SketchPart

Shape = Callable[[Sketch], None]


def built(shape: Shape, seed: int) -> Sketch:
    """Draw one of the shape's variants."""
    sketch = Sketch(np.random.default_rng(seed))
    shape(sketch)
    return sketch


def assert_finite_and_mostly_main(shape: Shape) -> None:
    """Check that every variant has a size and a part in the product's own colour."""
    for seed in range(12):
        sketch = built(shape, seed)
        low, high = sketch.compute_bounds()
        assert np.isfinite([low, high]).all()
        assert ((high - low) > 0.3).all()
        assert any(isinstance(item, SketchPart) and item.paint == "main" for item in sketch.items)


def proportions(shape: Shape) -> set[float]:
    """Return the ratio of width to height of twelve variants, rounded."""
    bounds = (built(shape, seed).compute_bounds() for seed in range(12))
    return {round(float((high - low)[0] / (high - low)[1]), 4) for low, high in bounds}
