import numpy as np
import pytest

from demo_shop.drawing import draw_product
from demo_shop.vocabulary import COLOURS, PRODUCT_TYPES
from demo_shop.world import DemoProduct, DemoWorld


def drawn(product: DemoProduct, view: int = 0, size: int = 96) -> np.ndarray:
    return np.asarray(draw_product(product, np.random.default_rng(view), size)).astype(int)


def colours(pixels: np.ndarray) -> np.ndarray:
    return pixels[pixels[..., 3] > 200][:, :3]


@pytest.mark.parametrize("kind", PRODUCT_TYPES)
def test_every_type_is_a_tight_opaque_cutout(kind: str) -> None:
    for index in range(4):
        pixels = drawn(DemoWorld(1, types=(kind,)).get_product(index), view=index)
        alpha = pixels[..., 3]
        assert 60 <= max(alpha.shape) <= 140
        assert (alpha > 200).mean() > 0.12
        assert all(edge.max() > 24 for edge in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]))
        assert colours(pixels).std(axis=0).max() > 4


def test_the_view_changes_and_the_product_stays() -> None:
    product = DemoWorld(2, types=("mug",)).get_product(0)
    assert (drawn(product, 1) == drawn(product, 1)).all()
    views = {drawn(product, view).tobytes() for view in range(4)}
    assert len(views) == 4
    means = [colours(drawn(product, view)).mean(axis=0) for view in range(4)]
    assert np.ptp(means, axis=0).max() < 40


def test_products_of_one_type_colour_and_pattern_still_differ() -> None:
    world = DemoWorld(3, types=("vase",))
    plain_red = [p for p in map(world.get_product, range(900)) if p.pattern == "plain" and p.colour == "red"]
    families = {p.family: p for p in plain_red}
    shapes = {draw_product(p, np.random.default_rng(0), 96).getchannel("A").tobytes() for p in families.values()}
    assert len(shapes) == len(families) >= 5


def test_a_plain_product_shows_its_colour() -> None:
    """The nearest named colour of the mean pixel is right for nearly all plain goods, whatever the light."""
    references = {name: np.array(colour.rgb, dtype=float) for name, colour in COLOURS.items()}
    world = DemoWorld(4, types=("cushion", "ball", "t-shirt", "mug"))
    plain = [p for p in map(world.get_product, range(240)) if p.pattern == "plain"][:60]
    right = 0
    for product in plain:
        pixels = colours(drawn(product, product.index)).astype(float)
        seen = np.median(pixels, axis=0)
        scaled = {name: np.abs(seen - rgb * 0.9).sum() for name, rgb in references.items()}
        right += min(scaled, key=lambda name: scaled[name]) == product.colour
    assert right >= 0.85 * len(plain)


def test_too_small_a_size_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16"):
        drawn(DemoWorld(1).get_product(0), size=8)
