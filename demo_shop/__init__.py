"""The demo shop: invented products with texts, drawn photos and purchases; every fact about them is known.

Pure Python, NumPy and Pillow. `DemoWorld` gives the facts of a product, `draw_product` draws it as a cut-out,
`compose_scene` puts a cut-out on a background of `draw_background`, and `take_photo` does all of it for one photo.
"""

from demo_shop.backgrounds import draw_background
from demo_shop.drawing import draw_product
from demo_shop.photo import DemoPhoto, take_photo
from demo_shop.scene import compose_scene, encode_jpeg, save_jpeg
from demo_shop.world import DemoProduct, DemoWorld

__all__ = [
    "DemoPhoto",
    "DemoProduct",
    "DemoWorld",
    "compose_scene",
    "draw_background",
    "draw_product",
    "encode_jpeg",
    "save_jpeg",
    "take_photo",
]  # fmt: skip
