"""How each product type is built: one function a type, which adds parts to a `Sketch`."""

from collections.abc import Callable

from demo_shop.shapes import bags, clothing, home, leisure, tableware
from demo_shop.sketch import Sketch

SHAPES: dict[str, Callable[[Sketch], None]] = {
    "mug": tableware.mug,
    "teapot": tableware.teapot,
    "bowl": tableware.bowl,
    "bottle": tableware.bottle,
    "vase": tableware.vase,
    "lamp": home.lamp,
    "cushion": home.cushion,
    "armchair": home.armchair,
    "t-shirt": clothing.t_shirt,
    "dress": clothing.dress,
    "trousers": clothing.trousers,
    "sneaker": clothing.sneaker,
    "boot": clothing.boot,
    "cap": clothing.cap,
    "backpack": bags.backpack,
    "handbag": bags.handbag,
    "watch": bags.watch,
    "umbrella": bags.umbrella,
    "guitar": leisure.guitar,
    "ball": leisure.ball,
}
