import pytest

from demo_shop.shapes.tableware import sketch_bottle, sketch_bowl, sketch_mug, sketch_teapot, sketch_vase
from demo_shop.sketch import SketchPart
from tests.demo_shop.shapes.building import Shape, assert_finite_and_mostly_main, built, proportions

SHAPES = [sketch_mug, sketch_bowl, sketch_teapot, sketch_bottle, sketch_vase]


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_finite_varied_and_mostly_main(shape: Shape) -> None:
    assert_finite_and_mostly_main(shape)
    assert len(proportions(shape)) > 6


def test_open_vessels_show_their_inside() -> None:
    for shape in (sketch_mug, sketch_bowl, sketch_vase):
        assert any(isinstance(item, SketchPart) and item.paint == "inside" for item in built(shape, 0).items)
