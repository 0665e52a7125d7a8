"""Photos of demo products, for catalogues and for shoppers' queries."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from demo_shop.backgrounds import draw_background
from demo_shop.drawing import draw_product
from demo_shop.scene import RelativeBox, compose_scene, simulate_camera
from demo_shop.world import DemoProduct

PLAIN_FIRST_PROB = 0.75
"""Probability of a plain background on the first photo: shops put the studio photo first."""

PLAIN_LATER_PROB = 0.15


@dataclass(frozen=True)
class DemoPhoto:
    """A photo with the true box of the product.

    Attributes:
        image: RGB picture.
        box: (x0, y0, x1, y1) as shares of width and height.
        is_cluttered: whether the background has texture and other objects.
    """

    image: Image.Image
    box: RelativeBox
    is_cluttered: bool


def take_photo(
    product: DemoProduct, number: int, *, revision: int = 0, size: int = 288, cluttered: bool | None = None
) -> DemoPhoto:
    """Return a photo of a product; the same arguments give the same pixels.

    Args:
        product: what to photograph.
        number: 0 is the first catalogue photo; numbers beyond ``product.images`` give further photos.
        revision: number of times that the shop has replaced the photo.
        size: shorter side in pixels.
        cluttered: kind of background; None: mostly plain for the first photo, mostly cluttered for others.
    """
    seed, _ = product.looks
    rng = np.random.default_rng((seed, product.index, 3, number, revision))
    drawn = bool(rng.random() >= (PLAIN_FIRST_PROB if number == 0 else PLAIN_LATER_PROB))
    is_cluttered = drawn if cluttered is None else cluttered
    longer = int(size * rng.choice((1.0, 1.0, 1.25)))
    frame = (size, longer) if rng.random() < 0.5 else (longer, size)
    share = rng.uniform(0.38, 0.8) if is_cluttered else rng.uniform(0.6, 0.92)
    cutout = draw_product(product, rng, max(int(size * share), 16))
    picture, box = compose_scene(cutout, draw_background(rng, frame, is_cluttered), rng, scale=None)
    return DemoPhoto(simulate_camera(picture, rng), box, is_cluttered)
