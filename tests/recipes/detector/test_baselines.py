import pytest
from PIL import Image, ImageDraw

from moon_model.detection.region import compute_iou
from recipes.detector.baselines import find_salient_box, make_centre_crop


def test_a_centre_crop_is_centred():
    assert make_centre_crop(0.6) == pytest.approx((0.2, 0.2, 0.8, 0.8))
    assert make_centre_crop(1.0) == (0.0, 0.0, 1.0, 1.0)


def test_saliency_finds_a_lone_disc():
    photo = Image.new("RGB", (200, 200), (200, 200, 205))
    ImageDraw.Draw(photo).ellipse((60, 70, 130, 140), fill="darkred")
    assert compute_iou(find_salient_box(photo), (0.3, 0.35, 0.65, 0.7)) > 0.5


def test_saliency_of_nothing_is_still_a_box():
    x0, y0, x1, y1 = find_salient_box(Image.new("RGB", (50, 50), "white"))
    assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
