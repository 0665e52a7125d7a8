from dataclasses import replace
from random import Random

import numpy as np
import pytest
from PIL import Image

from moon_model.detection.region import compute_iou
from recipes.detector.boxed import BoxedPhoto, list_fridges
from recipes.detector.composite import CORE_DOMINANCE, LabelledBox
from recipes.detector.samples import MAX_BOXES, crop_random_window, draw_sample, pack_labels, render_samples


@pytest.fixture
def red_square(tmp_path):
    photo = Image.new("RGB", (200, 100), "white")
    photo.paste("red", (80, 30, 140, 80))
    photo.save(tmp_path / "square.png")
    return BoxedPhoto(tmp_path / "square.png", (LabelledBox((0.4, 0.3, 0.7, 0.8), CORE_DOMINANCE),))


def test_a_window_moves_the_box_with_the_pixels(red_square):
    for seed in range(20):
        window, labels = crop_random_window(red_square, Random(seed), (0.5, 1.0))
        red = np.asarray(window)[..., 1] < 128
        rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
        w, h = window.size
        seen = (columns[0] / w, rows[0] / h, (columns[-1] + 1) / w, (rows[-1] + 1) / h)
        assert compute_iou(seen, labels[0].box) > 0.9


def test_a_window_forgets_products_it_cuts_off(fake_data):
    (photo, _) = list_fridges(fake_data / "product_boxes", held_out=False)
    counts = {len(crop_random_window(photo, Random(seed), (0.25, 0.9))[1]) for seed in range(30)}
    assert counts == {1, 2}


def test_a_photo_without_products_gives_a_window_without_labels(red_square):
    window, labels = crop_random_window(BoxedPhoto(red_square.path, ()), Random(0), (0.5, 0.9))
    assert labels == []
    assert window.width < 200


def test_shares_decide_what_is_drawn(sources):
    empty = replace(sources, kind_probs=dict.fromkeys(sources.kind_probs, 0.0) | {"empty": 1.0})
    assert all(draw_sample(empty, Random(seed))[1] == [] for seed in range(3))
    plain = replace(sources, kind_probs=dict.fromkeys(sources.kind_probs, 0.0) | {"plain": 1.0})
    assert all(draw_sample(plain, Random(seed))[1] for seed in range(3))


def test_kinds_without_photos_are_left_out(sources):
    assert not sources.boxed and not sources.single
    for seed in range(10):
        draw_sample(sources, Random(seed))


def test_a_rendered_set_is_repeatable_and_holds_what_it_says(sources, tmp_path):
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        render_samples(sources, 4, 64, seed, tmp_path / folder)
    photos = {name: np.load(tmp_path / name / "photos.npy") for name in "abc"}
    assert photos["a"].shape == (4, 64, 64, 3)
    assert np.array_equal(photos["a"], photos["b"])
    assert not np.array_equal(photos["a"], photos["c"])
    assert np.load(tmp_path / "a" / "labels.npy").shape == (4, MAX_BOXES, 5)


def test_labels_beyond_the_last_row_are_dropped_and_unused_rows_are_empty():
    one = LabelledBox((0.1, 0.2, 0.3, 0.4), 0.5)
    rows = pack_labels([one])
    assert rows[0] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert not rows[1:].any()
    assert pack_labels([one] * 40).shape == (MAX_BOXES, 5)
