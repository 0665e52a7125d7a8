"""What shoppers of the demo shop buy: drawn from tastes that no catalogue shows, never from the wording of a title.

A shopper has a product in mind, shows a photo of it or says what it is like, or both. Who shows a photo buys that
product or another size of it. Who only says it buys, of the products that fit the words, the one nearest to the
shopper's taste. Now and then a purchase has nothing to do with what was asked.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from demo_shop.queries import QUERY_FACTS, ShopperQuery, draw_query
from demo_shop.world import DemoProduct, DemoWorld

NOISE_PROB = 0.07
TASTE_SPREAD = 0.5
"""Standard deviation of a shopper's taste around that of the product in mind."""

QUERY_KINDS = ("image", "text", "both")
QUERY_KIND_PROBS = (12 / 17, 3 / 17, 2 / 17)
"""As the paper's training queries."""

FIRST_QUERY_PHOTO = 100
"""Shoppers' photos are numbered from here: none is a catalogue picture."""


@dataclass(frozen=True)
class Purchase:
    """What was asked and what was bought.

    Attributes:
        product: index of the product bought.
        wanted: index of the product in mind; its photo number ``photo`` was shown, unless that is None.
        query: what was said; "" for a photo alone.
        is_noise: whether the purchase has nothing to do with the question.
    """

    product: int
    wanted: int
    photo: int | None
    query: str
    is_noise: bool


def draw_purchases(world: DemoWorld, products: int, per_product: int) -> Iterator[Purchase]:
    """Draw purchases in the first ``products`` of a world; deterministic.

    Args:
        world: the shop.
        products: it lists so many.
        per_product: purchases with each product in mind.
    """
    shelf = [world.product(index) for index in range(products)]
    tastes = np.array([product.taste for product in shelf])
    for product in shelf:
        for number in range(per_product):
            rng = np.random.default_rng((world.seed, product.index, 5, number))
            yield _purchase(product, number, shelf, tastes, rng)


def _purchase(
    wanted: DemoProduct, number: int, shelf: Sequence[DemoProduct], tastes: np.ndarray, rng: np.random.Generator
) -> Purchase:
    asked = QUERY_KINDS[int(rng.choice(3, p=QUERY_KIND_PROBS))]
    query = draw_query(
        wanted, rng, QUERY_FACTS if rng.random() < 0.7 else ("type", str(rng.choice(("colour", "pattern"))))
    )
    noise = bool(rng.random() < NOISE_PROB)
    if noise:
        bought = int(rng.integers(len(shelf)))
    elif asked == "text":
        bought = _to_taste(query, wanted, shelf, tastes, rng)
    else:
        bought = int(rng.choice([one.index for one in shelf if one.family == wanted.family]))
    photo = FIRST_QUERY_PHOTO + number if asked != "text" else None
    return Purchase(bought, wanted.index, photo, query.text if asked != "image" else "", noise)


def _to_taste(
    query: ShopperQuery, wanted: DemoProduct, shelf: Sequence[DemoProduct], tastes: np.ndarray, rng: np.random.Generator
) -> int:
    taste = np.asarray(wanted.taste) + rng.normal(scale=TASTE_SPREAD, size=4)
    fitting = [one.index for one in shelf if query.matches(one)]
    distances = np.linalg.norm(tastes[fitting] - taste, axis=1)
    return fitting[int(distances.argmin())]
