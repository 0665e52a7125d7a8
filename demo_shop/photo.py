"""One photograph of a demo product, as it would lie in a catalogue."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from demo_shop.backgrounds import draw_background
from demo_shop.drawing import draw_product
from demo_shop.scene import RelativeBox, compose_scene, simulate_camera
from demo_shop.world import DemoProduct

PLAIN_FIRST_PROB = 0.75  # shops put the studio picture first
PLAIN_LATER_PROB = 0.15


@dataclass(frozen=True)
class DemoPhoto:
    """A picture and where the product is in it.

    Attributes:
        image: RGB.
        box: True box (x0, y0, x1, y1) as shares of width and height.
        is_cluttered: Whether other things lie around the product.
    """

    image: Image.Image
    box: RelativeBox
    is_cluttered: bool


def take_photo(
    product: DemoProduct, number: int, *, revision: int = 0, size: int = 288, cluttered: bool | None = None
) -> DemoPhoto:
    """Take photo `number` of a product; the same arguments give the same pixels.

    Args:
        product: What to photograph.
        number: 0 for the first picture of the product; numbers beyond its catalogue pictures give more.
        revision: Raised when the shop replaces the picture.
        size: Length of the shorter side in pixels.
        cluttered: Force the ground; None: mostly plain for the first picture, mostly cluttered for the others.
    """
    seed, _ = product.looks
    rng = np.random.default_rng((seed, product.index, 3, number, revision))
    plain_share = PLAIN_FIRST_PROB if number == 0 else PLAIN_LATER_PROB
    drawn = bool(rng.random() >= plain_share)
    busy = drawn if cluttered is None else cluttered
    longer = int(size * rng.choice((1.0, 1.0, 1.25)))
    frame = (size, longer) if rng.random() < 0.5 else (longer, size)
    share = rng.uniform(0.38, 0.8) if busy else rng.uniform(0.6, 0.92)
    cutout = draw_product(product, rng, max(int(size * share), 16))
    picture, where = compose_scene(cutout, draw_background(rng, frame, busy), rng, scale=None)
    return DemoPhoto(simulate_camera(picture, rng), where, busy)
