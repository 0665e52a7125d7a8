"""Facts of demo products: `DemoWorld(seed).get_product(i)` always returns the same product.

Every product has a hidden taste (four numbers, see `vocabulary.TASTES`), which makes some brands, colours and patterns
more likely. No catalogue contains it, but purchases depend on it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from demo_shop.vocabulary import BRANDS, COLOURS, PATTERNS, PRODUCT_TYPES, Taste
from demo_shop.wording import write_description, write_title

ID_PREFIX = "demo"
VARIANT_EVERY = 9
"""Every ninth product is another size of the product before it."""

OMITTED_FACT_PROB = 1 / 3
"""Probability that no text names one of the facts, colour or pattern (`DemoProduct.omitted_fact`)."""

MISLEADING_PROB = 0.08
PLAIN_PATTERN_BONUS = 1.0
"""Added to the logit of plain: plain products are the most common, as in real shops."""

NEUTRALS = ("white", "black", "grey")


@dataclass(frozen=True)
class DemoProduct:
    """A product with all facts from which its texts and photos are made.

    Attributes:
        id: catalogue id, ``demo-<seed>-<index>`` (`DemoWorld.find_product`).
        index: number of the product in its world, from 0.
        type: key of `vocabulary.PRODUCT_TYPES`.
        category: category path from the root.
        colour: key of `vocabulary.COLOURS`.
        second_colour: colour of the pattern, the same as ``colour`` for a plain product.
        pattern: key of `vocabulary.PATTERNS`.
        material: key of `vocabulary.MATERIALS`.
        brand: name of the brand.
        size: one of the type's sizes.
        title: title in the catalogue.
        description: two or three sentences.
        attributes: attributes in the catalogue, without ``omitted_fact``.
        omitted_fact: fact that no text names and only photos show ("colour" or "pattern"), or "".
        misleading: words of the title that name a wrong type or colour, or "".
        images: number of catalogue photos, 1 to 3.
        family: id that all sizes of a product share; they look the same.
        taste: position on the hidden axes; decides which shoppers buy the product.
        looks: seed of shape and shades, the same for all sizes of a product.
    """

    id: str
    index: int
    type: str
    category: tuple[str, ...]
    colour: str
    second_colour: str
    pattern: str
    material: str
    brand: str
    size: str
    title: str
    description: str
    attributes: Mapping[str, str]
    omitted_fact: str
    misleading: str
    images: int
    family: str
    taste: Taste
    looks: tuple[int, int]


class DemoWorld:
    """A shop of any number of products; each product depends only on seed and index.

    Args:
        seed: worlds with equal seeds are equal; worlds with different seeds share only the vocabulary.
        types: product types to draw from; None: all of them.

    Raises:
        ValueError: a type is not in `vocabulary.PRODUCT_TYPES`, or the seed is negative.
    """

    def __init__(self, seed: int, types: Sequence[str] | None = None) -> None:
        self.seed = seed
        self.types = tuple(types) if types is not None else tuple(PRODUCT_TYPES)
        unknown = sorted(set(self.types) - set(PRODUCT_TYPES))
        if unknown or not self.types:
            raise ValueError(f"unknown product types {unknown}; known are {', '.join(PRODUCT_TYPES)}")
        if seed < 0:
            raise ValueError(f"the seed must be 0 or more, not {seed}")

    def get_product(self, index: int, *, title_revision: int = 0, attribute_revision: int = 0) -> DemoProduct:
        """Return a product by its index.

        Args:
            index: number of the product, from 0.
            title_revision: number of times that the title was reworded.
            attribute_revision: number of times that the size was changed; neither revision changes the appearance.

        Raises:
            ValueError: the index is negative.
        """
        if index < 0:
            raise ValueError(f"products count from 0, not {index}")
        base = index - 1 if index % VARIANT_EVERY == VARIANT_EVERY - 1 else index
        rng = np.random.default_rng((self.seed, base))
        kind = str(rng.choice(self.types))
        facts = PRODUCT_TYPES[kind]
        taste = rng.normal(size=4)
        brand = BRANDS[_choose_by_taste(taste, [one.taste for one in BRANDS], rng)]
        colour = list(COLOURS)[_choose_by_taste(taste, [one.taste for one in COLOURS.values()], rng)]
        plain_bonus = [PLAIN_PATTERN_BONUS if name == "plain" else 0.0 for name in PATTERNS]
        tastes = [one.taste for one in PATTERNS.values()]
        pattern = list(PATTERNS)[_choose_by_taste(taste, tastes, rng, plain_bonus)]
        second = colour if pattern == "plain" else _choose_second_colour(colour, rng)
        material = str(rng.choice(facts.materials))
        size_at = int(rng.integers(len(facts.sizes))) + (index - base) + attribute_revision
        own = np.random.default_rng((self.seed, index, 1))
        product = DemoProduct(
            id=self.product_id(index), index=index, type=kind, category=facts.category, colour=colour,
            second_colour=second, pattern=pattern, material=material, brand=brand.name,
            size=facts.sizes[size_at % len(facts.sizes)], title="", description="", attributes={},
            omitted_fact=str(own.choice(("colour", "pattern"))) if own.random() < OMITTED_FACT_PROB else "",
            misleading="", images=0, family=self.product_id(base), taste=tuple(taste.tolist()), looks=(self.seed, base),
        )  # fmt: skip
        # The random draws must stay in this order: another order changes every product.
        is_misleading = bool(own.random() < MISLEADING_PROB)
        images = int(own.choice((1, 2, 3), p=(0.35, 0.4, 0.25)))
        title_rng = np.random.default_rng((self.seed, index, 2, title_revision))
        title, misleading = write_title(product, is_misleading, title_rng)
        return replace(
            product, title=title, misleading=misleading, description=write_description(product, own), images=images,
            attributes=_list_attributes(product),
        )  # fmt: skip

    def product_id(self, index: int) -> str:
        """Return the catalogue id of a product by its index."""
        return f"{ID_PREFIX}-{self.seed}-{index:06d}"

    def find_product(self, product_id: str) -> DemoProduct:
        """Return a product by its catalogue id.

        Raises:
            KeyError: the id is not one of this world.
        """
        prefix, _, number = product_id.rpartition("-")
        if prefix != f"{ID_PREFIX}-{self.seed}" or not (number.isascii() and number.isdigit()):
            raise KeyError(product_id)
        return self.get_product(int(number))


def _choose_by_taste(
    taste: np.ndarray, places: Sequence[Taste], rng: np.random.Generator, bonus: Sequence[float] | float = 0.0
) -> int:
    """Return the index of an option drawn at random; the better it matches the taste, the higher its probability."""
    scores = np.exp(np.asarray(places) @ taste * 0.6 + bonus)
    return int(rng.choice(len(scores), p=scores / scores.sum()))


def _choose_second_colour(colour: str, rng: np.random.Generator) -> str:
    """Return a colour that contrasts with ``colour``, most often a neutral one."""
    if colour in NEUTRALS:
        clash = {"grey": ("grey", "turquoise", "brown"), "white": ("white", "yellow"), "black": ("black",)}
        return str(rng.choice([c for c in COLOURS if c not in clash[colour]]))
    if colour in ("yellow", "pink", "turquoise", "orange"):
        return str(rng.choice(("white", "black"), p=(0.6, 0.4)))
    return "white" if rng.random() < 0.75 else str(rng.choice(("yellow", "pink")))


def _list_attributes(product: DemoProduct) -> dict[str, str]:
    names = ("colour", "pattern", "material", "brand", "size")
    return {name: getattr(product, name) for name in names if name != product.omitted_fact}
