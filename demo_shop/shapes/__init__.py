"""Shapes of the product types: one function per type, which adds parts and strokes to a `Sketch`."""

from collections.abc import Callable

from demo_shop.shapes import bags, clothing, home, leisure, tableware
from demo_shop.sketch import Sketch

SHAPE_BUILDERS: dict[str, Callable[[Sketch], None]] = {
    "mug": tableware.sketch_mug,
    "teapot": tableware.sketch_teapot,
    "bowl": tableware.sketch_bowl,
    "bottle": tableware.sketch_bottle,
    "vase": tableware.sketch_vase,
    "lamp": home.sketch_lamp,
    "cushion": home.sketch_cushion,
    "armchair": home.sketch_armchair,
    "t-shirt": clothing.sketch_t_shirt,
    "dress": clothing.sketch_dress,
    "trousers": clothing.sketch_trousers,
    "sneaker": clothing.sketch_sneaker,
    "boot": clothing.sketch_boot,
    "cap": clothing.sketch_cap,
    "backpack": bags.sketch_backpack,
    "handbag": bags.sketch_handbag,
    "watch": bags.sketch_watch,
    "umbrella": bags.sketch_umbrella,
    "guitar": leisure.sketch_guitar,
    "ball": leisure.sketch_ball,
}
