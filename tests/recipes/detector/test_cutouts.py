import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from moon_model.detection.region import compute_iou
from recipes.detector.cutouts import (
    cut_out,
    draw_procedural_cutouts,
    fill_convex_hull,
    find_product_mask,
    load_eshop_cutouts,
    load_iconic_cutouts,
)


def studio(shadow=True):
    """A red bottle on a background with a gradient, its soft shadow beside it; the photo and its true box."""
    y, x = np.mgrid[0:300, 0:300]
    background = (235 + 10 * (x / 300) - 12 * (y / 300))[..., None] * np.ones(3)
    photo = Image.fromarray(background.astype(np.uint8))
    if shadow:
        shade = Image.new("L", (300, 300))
        ImageDraw.Draw(shade).ellipse((120, 225, 260, 262), fill=110)
        photo.paste((40, 40, 40), (0, 0), shade.filter(ImageFilter.GaussianBlur(8)))
    draw = ImageDraw.Draw(photo)
    draw.rectangle((110, 60, 170, 250), fill=(170, 30, 40))
    draw.rectangle((125, 30, 155, 60), fill=(40, 40, 60))
    return photo, (110, 30, 171, 251)


@pytest.mark.parametrize("shadow", [False, True])
def test_the_mask_is_the_product_without_its_shadow(shadow):
    photo, truth = studio(shadow)
    found = Image.fromarray(find_product_mask(photo)).getbbox()
    assert compute_iou(found, truth) > 0.9


def test_a_cutout_is_tight_and_transparent_outside_the_product():
    photo, truth = studio()
    cut = cut_out(photo)
    assert cut.mode == "RGBA"
    assert abs(cut.width - (truth[2] - truth[0])) <= 6
    assert cut.getchannel("A").getpixel((2, 2)) < 64  # beside the bottle's neck
    assert cut.getchannel("A").getpixel((cut.width // 2, cut.height // 2)) == 255


def test_an_empty_photo_has_nothing_to_cut_out():
    assert cut_out(Image.new("RGB", (200, 200), (240, 240, 240))) is None


def test_a_convex_product_keeps_its_white_face():
    photo = Image.new("RGB", (300, 300), "white")
    draw = ImageDraw.Draw(photo)
    draw.rectangle((80, 60, 220, 110), fill="green")
    draw.rectangle((80, 200, 220, 240), fill="green")  # a carton whose middle is as white as the background
    assert cut_out(photo, convex=True).getchannel("A").getpixel((70, 90)) == 255


def test_the_hull_holds_the_mask_and_adds_no_corner():
    mask = np.zeros((20, 20), bool)
    mask[5, 5] = mask[5, 15] = mask[15, 5] = True
    hull = fill_convex_hull(mask)
    assert (hull | mask == hull).all()
    assert hull[8, 8] and not hull[15, 15]


def test_odd_and_even_ids_never_mix(fake_data):
    assert len(load_eshop_cutouts(fake_data / "eshop", even=False)) == 3  # 1, 3, 7; 5 is on the list of unusable ones
    assert len(load_eshop_cutouts(fake_data / "eshop", even=True)) == 3  # 2, 4, 8; so is 6


def test_every_third_iconic_photo_is_held_out(fake_data):
    assert len(load_iconic_cutouts(fake_data / "grocery", held_out=True)) == 2
    assert len(load_iconic_cutouts(fake_data / "grocery", held_out=False)) == 6


def test_procedural_products_are_tight_and_repeatable():
    first, again = (draw_procedural_cutouts(3, seed=4) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        assert a.getchannel("A").getbbox() == (0, 0, *a.size)
        assert a.tobytes() == b.tobytes()
