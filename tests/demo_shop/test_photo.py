import numpy as np

from demo_shop.photo import take_photo
from demo_shop.scene import encode_jpeg
from demo_shop.world import DemoWorld


def test_photos_repeat_and_every_number_and_revision_is_another_picture() -> None:
    product = DemoWorld(5).get_product(3)
    assert encode_jpeg(take_photo(product, 0).image) == encode_jpeg(take_photo(product, 0).image)
    pictures = {take_photo(product, n, revision=r).image.tobytes() for n in range(2) for r in range(2)}
    assert len(pictures) == 4


def test_size_and_box_are_sound() -> None:
    world = DemoWorld(6)
    for index in range(12):
        photo = take_photo(world.get_product(index), index, size=128)
        assert min(photo.image.size) == 128
        x0, y0, x1, y1 = photo.box
        assert 0 <= x0 < x1 <= 1
        assert 0 <= y0 < y1 <= 1
        assert (x1 - x0) * (y1 - y0) > 0.02


def test_first_pictures_are_mostly_studio_and_later_ones_mostly_not() -> None:
    world = DemoWorld(7)
    first = np.mean([take_photo(world.get_product(i), 0, size=32).is_cluttered for i in range(50)])
    later = np.mean([take_photo(world.get_product(i), 1, size=32).is_cluttered for i in range(50)])
    assert first < 0.45
    assert later > 0.65


def test_the_ground_can_be_chosen() -> None:
    product = DemoWorld(8).get_product(0)
    assert [take_photo(product, 0, size=48, cluttered=c).is_cluttered for c in (False, True)] == [False, True]


def test_variants_look_alike_but_have_their_own_photos() -> None:
    world = DemoWorld(9)
    base, variant = world.get_product(7), world.get_product(8)
    assert variant.family == base.id
    assert take_photo(base, 0, size=64).image.tobytes() != take_photo(variant, 0, size=64).image.tobytes()
