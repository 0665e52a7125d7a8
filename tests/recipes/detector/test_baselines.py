import pytest
from PIL import Image, ImageDraw

from moon_model.detection.region import intersection_over_union
from recipes.detector.baselines import centre_crop, saliency_box


def test_a_centre_crop_is_centred():
    assert centre_crop(0.6) == pytest.approx((0.2, 0.2, 0.8, 0.8))
    assert centre_crop(1.0) == (0.0, 0.0, 1.0, 1.0)


def test_saliency_finds_a_lone_disc():
    photo = Image.new("RGB", (200, 200), (200, 200, 205))
    ImageDraw.Draw(photo).ellipse((60, 70, 130, 140), fill="darkred")
    assert intersection_over_union(saliency_box(photo), (0.3, 0.35, 0.65, 0.7)) > 0.5


def test_saliency_of_nothing_is_still_a_box():
    x0, y0, x1, y1 = saliency_box(Image.new("RGB", (50, 50), "white"))
    assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
