"""The demo shop: products, texts and photographs that are made up, drawn and known to the last detail.

Pure Python, NumPy and Pillow. `DemoWorld` states the facts of a product, `draw_product` draws it as a cut-out,
`compose` puts a cut-out on a `ground`, and `take_photo` does all of it as a catalogue would.
"""

from demo_shop.backgrounds import ground
from demo_shop.drawing import draw_product
from demo_shop.photo import Photo, take_photo
from demo_shop.scene import compose, save_jpeg, to_jpeg
from demo_shop.world import DemoProduct, DemoWorld

__all__ = [
    "DemoProduct", "DemoWorld", "Photo", "compose", "draw_product", "ground", "save_jpeg", "take_photo", "to_jpeg",
]  # fmt: skip
