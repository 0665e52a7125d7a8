import numpy as np

from demo_shop.geometry import outline_box
from demo_shop.sketch import Sketch, SketchPart, Stroke


def test_a_sketch_keeps_drawing_order_and_knows_its_bounds() -> None:
    sketch = Sketch(np.random.default_rng(0))
    sketch.add_part(outline_box(0, 0, 1, 1))
    sketch.add_stroke([(-1, 0.5), (2, 0.5)], paint="dark")
    assert [type(item) for item in sketch.items] == [SketchPart, Stroke]
    low, high = sketch.compute_bounds()
    assert (low.tolist(), high.tolist()) == ([-1, 0], [2, 1])


def test_measures_follow_the_generator_alone() -> None:
    def measures(seed: int) -> list[object]:
        sketch = Sketch(np.random.default_rng(seed))
        return [sketch.draw_measure(1, 2), sketch.choose("a", "b", "c"), sketch.draw_bool(0.5)]

    assert measures(3) == measures(3)
    assert any(measures(3) != measures(seed) for seed in range(5))
    assert all(1 <= measures(seed)[0] <= 2 for seed in range(20))
