import numpy as np
import pytest
from PIL import Image, ImageDraw

from demo_shop.shading import Light, compute_shading, draw_grain_tile
from demo_shop.vocabulary import MATERIALS, Material

FOLDS = np.zeros((64, 64), dtype=np.float32)
LEFT = Light(-0.6, 0.0, 0.8)


@pytest.fixture
def disc() -> Image.Image:
    mask = Image.new("L", (120, 120), 0)
    ImageDraw.Draw(mask).ellipse((10, 10, 110, 110), fill=255)
    return mask


@pytest.mark.parametrize("form", ["puff", "turned", "ball"])
def test_the_side_towards_the_light_is_brighter(disc: Image.Image, form: str) -> None:
    dark, _ = compute_shading(disc, form, 0.9, Material(0.0, 4), LEFT, FOLDS)
    pixels = np.asarray(dark).astype(int)
    assert pixels.shape == (120, 120)
    assert pixels[60, 25] > pixels[60, 95] + 10


def test_gloss_makes_a_highlight_and_matt_none(disc: Image.Image) -> None:
    _, none = compute_shading(disc, "ball", 1.0, Material(0.0, 4), LEFT, FOLDS)
    _, glint = compute_shading(disc, "ball", 1.0, Material(0.9, 30), LEFT, FOLDS)
    assert none is None
    assert glint is not None
    values = np.asarray(glint)
    assert values.max() > 120
    assert np.median(values) < 40


def test_flat_parts_are_evenly_lit_and_tiny_parts_do_not_fail(disc: Image.Image) -> None:
    assert len(compute_shading(disc, "flat", 1.0, Material(0.9, 30), LEFT, FOLDS)[0].getcolors()) == 1
    for size in ((1, 1), (2, 40), (40, 2), (5, 5)):
        for form in ("puff", "sheet", "turned", "ball"):
            dark, _ = compute_shading(Image.new("L", size, 255), form, 1.0, Material(0.3, 9), LEFT, FOLDS)
            assert dark.size == size


def test_random_light_is_a_unit_vector_from_above() -> None:
    for seed in range(20):
        light = Light.draw(np.random.default_rng(seed))
        assert light.x**2 + light.y**2 + light.z**2 == pytest.approx(1)
        assert light.y < 0 < light.z


@pytest.mark.parametrize("kind", sorted({m.grain for m in MATERIALS.values()} - {"none"}))
def test_grain_darkens_a_little_and_never_everything(kind: str) -> None:
    values = np.asarray(draw_grain_tile(kind, 0.2)).astype(int)
    assert values.shape == (512, 512)
    assert values.min() >= 255 * 0.79
    assert values.max() > 240
    assert values.std() > 1
