"""Purchases in the demo shop: pairs of a query and the product bought. They do not depend on the wording of titles.

A shopper wants a product and searches with a photo, a text, or both. After a query with a photo, the shopper buys that
product or another size of it. After a query with text only, the shopper buys the matching product that is nearest to
the shopper's taste. A few purchases are unrelated to the query (noise).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from demo_shop.queries import QUERY_FACTS, draw_query
from demo_shop.world import DemoProduct, DemoWorld

NOISE_PROB = 0.07
TASTE_SPREAD = 0.5
"""Standard deviation of a shopper's taste around the taste of the wanted product."""

QUERY_KINDS = ("image", "text", "both")
QUERY_KIND_PROBS = (12 / 17, 3 / 17, 2 / 17)
"""Mix of the paper's training queries: image, text, both (docs/paper.md, "Training")."""

FIRST_QUERY_PHOTO = 100
"""Number of a product's first query photo: none of them is a catalogue photo."""


@dataclass(frozen=True)
class Purchase:
    """A query and the product that was bought after it.

    Attributes:
        product: index of the product bought.
        wanted: index of the product that the shopper wanted.
        photo: number of the wanted product's photo in the query; None: a query without a photo.
        query: text of the query; "" for a query with a photo only.
        is_noise: whether the purchase is unrelated to the query.
    """

    product: int
    wanted: int
    photo: int | None
    query: str
    is_noise: bool


def draw_purchases(world: DemoWorld, products: int, per_product: int) -> Iterator[Purchase]:
    """Yield purchases among the first products of a world; the same arguments give the same purchases.

    Args:
        world: the demo world.
        products: number of products on sale.
        per_product: number of purchases for each wanted product.
    """
    listed = [world.get_product(index) for index in range(products)]
    tastes = np.array([product.taste for product in listed])
    for product in listed:
        for number in range(per_product):
            rng = np.random.default_rng((world.seed, product.index, 5, number))
            yield _draw_purchase(product, number, listed, tastes, rng)


def _draw_purchase(
    wanted: DemoProduct, number: int, listed: Sequence[DemoProduct], tastes: np.ndarray, rng: np.random.Generator
) -> Purchase:
    kind = QUERY_KINDS[int(rng.choice(3, p=QUERY_KIND_PROBS))]
    facts = QUERY_FACTS if rng.random() < 0.7 else ("type", str(rng.choice(("colour", "pattern"))))
    query = draw_query(wanted, rng, facts)
    noise = bool(rng.random() < NOISE_PROB)
    if noise:
        bought = int(rng.integers(len(listed)))
    elif kind == "text":
        taste = np.asarray(wanted.taste) + rng.normal(scale=TASTE_SPREAD, size=4)
        matching = [one.index for one in listed if query.matches(one)]
        bought = matching[int(np.linalg.norm(tastes[matching] - taste, axis=1).argmin())]
    else:
        bought = int(rng.choice([one.index for one in listed if one.family == wanted.family]))
    photo = FIRST_QUERY_PHOTO + number if kind != "text" else None
    return Purchase(bought, wanted.index, photo, query.text if kind != "image" else "", noise)
