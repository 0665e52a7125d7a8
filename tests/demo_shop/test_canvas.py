import numpy as np
from PIL import Image

from demo_shop.canvas import MARGIN, SUPERSAMPLE, Canvas
from demo_shop.geometry import outline_box
from demo_shop.shading import Light
from demo_shop.sketch import Sketch
from demo_shop.vocabulary import Material

FOLDS = np.zeros((64, 64), dtype=np.float32)
MATT = {"other": Material(0.0, 4)}


def paint(sketch: Sketch, sheet_colour: tuple[int, int, int] = (0, 200, 0)) -> np.ndarray:
    canvas = Canvas(sketch, 60, {"red": (200, 0, 0)}, MATT, Light(0.0, -0.3, 0.95))
    sheet = Image.new("RGB", canvas.size, sheet_colour)
    return np.asarray(canvas.paint(sketch, sheet, FOLDS)).astype(int)


def new_sketch() -> Sketch:
    return Sketch(np.random.default_rng(0))


def test_the_longest_side_is_as_asked_and_the_ratio_kept() -> None:
    sketch = new_sketch()
    sketch.add_part(outline_box(5, 5, 9, 7), "red", "flat")
    pixels = paint(sketch)
    assert pixels.shape[1] == 60 * SUPERSAMPLE + 2 * MARGIN
    assert pixels.shape[0] == 30 * SUPERSAMPLE + 2 * MARGIN


def test_alpha_is_the_union_of_parts_and_cords() -> None:
    sketch = new_sketch()
    sketch.add_part(outline_box(0, 0, 1, 1), "red", "flat")
    sketch.add_stroke([(1, 0.5), (2, 0.5)], 0.1, paint="red")
    sketch.add_stroke([(0, 0.2), (1, 0.2)], 0.1)
    alpha = paint(sketch)[..., 3]
    assert alpha[alpha.shape[0] // 2, -MARGIN - 6] == 255
    assert alpha[MARGIN + 2, -MARGIN - 6] == 0


def test_front_parts_cover_and_shade_the_ones_behind() -> None:
    sketch = new_sketch()
    sketch.add_part(outline_box(0, 0, 4, 4), "red", "flat")
    plain = paint(sketch)
    sketch.add_part(outline_box(1, 1, 3, 3), "main", "puff")
    pixels = paint(sketch)
    middle = pixels.shape[0] // 2
    assert pixels[middle, middle, 1] > pixels[middle, middle, 0]
    assert pixels[..., 0].min() < plain[..., 0].min()
    assert (pixels[..., 3] == plain[..., 3]).all()


def test_a_seam_darkens_and_a_shine_lightens() -> None:
    for shade, sign in ((-0.6, -1), (0.6, 1)):
        sketch = new_sketch()
        sketch.add_part(outline_box(0, 0, 1, 1), "red", "flat")
        before = paint(sketch).sum()
        sketch.add_stroke([(0, 0.5), (1, 0.5)], 0.1, shade)
        assert (paint(sketch).sum() - before) * sign > 0


def test_wrapped_stripes_crowd_towards_the_edges() -> None:
    sketch = new_sketch()
    sketch.add_part(outline_box(0, 0, 1, 1), "main", "turned")
    canvas = Canvas(sketch, 60, {}, MATT, Light(0.0, 0.0, 1.0))
    stripes = np.zeros((*canvas.size[::-1], 3), dtype=np.uint8)
    stripes[:, ::16] = 255
    picture = np.asarray(canvas.paint(sketch, Image.fromarray(stripes), FOLDS)).astype(int)
    row = picture[picture.shape[0] // 2, :, 0] > 60
    places = np.flatnonzero(np.diff(row.astype(int)) == 1)
    gaps = np.diff(places)
    assert gaps[len(gaps) // 2] > gaps[0]
