from random import Random

import numpy as np
import pytest
from PIL import Image

from moon_model.detection.region import compute_area
from recipes.detector.composite import CORE_DOMINANCE, SIDE_DOMINANCE, degrade_photo, paste_scene

SEEDS = range(40)


def test_the_label_is_where_the_product_is(cutouts):
    """Against the plain background: a box is filled by its product (a disc: 0.79), the rest holds shadows at most."""
    filled = []
    for seed in SEEDS:
        background = np.array((120, 200, 120))
        photo, labels = paste_scene(Image.new("RGB", (200, 240), tuple(background)), [cutouts[0]], Random(seed))
        changed = np.abs(np.asarray(photo, int) - background).max(2) > 12
        covered = np.zeros_like(changed)
        for label in labels:
            x0, y0, x1, y1 = (round(v * side) for v, side in zip(label.box, (200, 240) * 2, strict=True))
            covered[y0:y1, x0:x1] = True
            filled.append(changed[y0:y1, x0:x1].mean())
        assert changed[~covered].mean() < 0.5
    assert np.mean(np.array(filled) > 0.6) > 0.9  # a tint may come close to the background's colour


def test_the_core_product_comes_first_and_dominates(cutouts):
    for seed in SEEDS:
        _, labels = paste_scene(Image.new("RGB", (160, 200), "grey"), cutouts, Random(seed))
        assert labels[0].dominance == CORE_DOMINANCE
        assert {label.dominance for label in labels[1:]} <= {SIDE_DOMINANCE}
        for label in labels:
            x0, y0, x1, y1 = label.box
            assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1


def test_scenes_vary_in_size_place_and_company(cutouts):
    scenes = [paste_scene(Image.new("RGB", (160, 160), "grey"), cutouts, Random(seed))[1] for seed in SEEDS]
    areas = [compute_area(labels[0].box) for labels in scenes]
    assert min(areas) < 0.15 and max(areas) > 0.4
    assert {len(labels) for labels in scenes} >= {1, 2}
    assert np.std([labels[0].box[0] for labels in scenes]) > 0.05


def test_the_same_seed_gives_the_same_photo(cutouts):
    first, again = (
        degrade_photo(paste_scene(Image.new("RGB", (160, 160), "grey"), cutouts, rng)[0], rng)
        for rng in (Random(3), Random(3))
    )
    assert first.tobytes() == again.tobytes()


def test_finishing_moves_nothing():
    """Simulated light, blur, noise and JPEG do not move a bright square."""
    photo = Image.new("RGB", (64, 64), "black")
    photo.paste((255, 255, 255), (16, 24, 40, 56))
    for seed in range(10):
        grey = np.asarray(degrade_photo(photo.copy(), Random(seed)).convert("L"), float)
        rows, columns = np.nonzero(grey > grey.max() / 2)
        assert (columns.min(), rows.min(), columns.max(), rows.max()) == pytest.approx((16, 24, 39, 55), abs=2)
