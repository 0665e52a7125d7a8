from random import Random

import numpy as np
import pytest

from recipes.detector.backgrounds import Backgrounds, crop_background, draw_plain_background


def test_backgrounds_for_measuring_are_never_trained_on(fake_data):
    training, measuring = (Backgrounds.find(fake_data, held_out) for held_out in (False, True))
    assert not set(training.clothing) & set(measuring.clothing)
    assert len(training.clothing) + len(measuring.clothing) == 20
    assert {path.parts[-3] for path in training.shelves} == {"train"}
    assert {path.parts[-3] for path in measuring.shelves} == {"val"}


def test_missing_photos_are_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="clothing"):
        Backgrounds.find(tmp_path, held_out=False)


def test_a_ground_has_the_size_asked_for_and_depends_on_the_seed_only(fake_data):
    path = Backgrounds.find(fake_data, held_out=False).clothing[0]
    first, again, other = (crop_background(path, (70, 50), Random(seed)) for seed in (1, 1, 2))
    assert first.size == (70, 50)
    assert first.tobytes() == again.tobytes() != other.tobytes()


def test_plain_backgrounds_differ_and_are_mostly_bright():
    backgrounds = [np.asarray(draw_plain_background((40, 30), Random(seed))) for seed in range(40)]
    assert all(background.shape == (30, 40, 3) for background in backgrounds)
    levels = [background.mean() for background in backgrounds]
    assert np.median(levels) > 150
    assert len({round(float(level)) for level in levels}) > 10
