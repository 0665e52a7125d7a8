import csv

import pytest
from PIL import Image

from moon_model.detection.region import Region, compute_iou
from recipes.detector.backgrounds import Backgrounds
from recipes.detector.boxed import (
    MEASURED_BOXES_CSV,
    REVIEWED_BOXES_CSV,
    list_catalogue_photos,
    list_fridges,
    list_reviewed_photos,
)


def test_fridges_are_split_by_photo(fake_data):
    training, measuring = (list_fridges(fake_data / "product_boxes", held_out) for held_out in (False, True))
    assert [photo.path.stem for photo in training] == ["0", "1"]
    assert [photo.path.stem for photo in measuring] == ["2", "3", "4", "5", "6", "7"]


def test_boxes_become_shares_of_the_photo(fake_data):
    first, second = list_fridges(fake_data / "product_boxes", held_out=False)[0].labels
    assert first.box == pytest.approx((0.1, 0.1, 0.3, 0.3))
    assert second.box == pytest.approx((0.5, 0.5, 0.9, 0.8))


def test_catalogue_photos_are_odd_and_carry_the_box_of_the_cutout(fake_data):
    photos = list_catalogue_photos(fake_data / "eshop")
    assert [photo.path.stem for photo in photos] == ["1", "3", "7"]
    size = 80 / 200  # the red disc of photo 1, pasted at (30, 20)
    assert compute_iou(photos[0].labels[0].box, (0.15, 0.1, 0.15 + size, 0.1 + size)) > 0.9


def test_large_photos_are_loaded_small(tmp_path):
    from recipes.detector.boxed import BoxedPhoto

    Image.new("RGB", (3000, 2000)).save(tmp_path / "large.jpg")
    assert max(BoxedPhoto(tmp_path / "large.jpg", ()).load().size) == 700


@pytest.mark.parametrize("path", [REVIEWED_BOXES_CSV, MEASURED_BOXES_CSV])
def test_every_reviewed_box_is_a_box(path):
    with path.open(newline="") as rows:
        for row in csv.DictReader(rows):
            if row["x0"]:  # a heap has none
                Region(tuple(float(row[key]) for key in ("x0", "y0", "x1", "y1")), 1.0)


def test_reviewed_photos_keep_to_their_side_of_the_split(shared_data):
    for held_out in (False, True):
        backgrounds = Backgrounds.find(shared_data, held_out)
        allowed = {*backgrounds.clothing, *backgrounds.shelves}
        photos = {photo.path for photo in list_reviewed_photos(shared_data, held_out)}
        assert len(photos) > 100
        assert photos <= allowed


def test_heaps_are_trained_as_photos_without_a_product_and_never_measured(shared_data):
    assert any(not photo.labels for photo in list_reviewed_photos(shared_data, held_out=False))
    assert all(len(photo.labels) == 1 for photo in list_reviewed_photos(shared_data, held_out=True))
