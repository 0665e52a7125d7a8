"""The facts of the demo shop: `DemoWorld(seed).product(i)` is always the same product.

Every product has a hidden taste (four numbers, see `vocabulary.TASTES`) from which its brand, colour and
pattern follow by chance. The taste is never written anywhere: shoppers feel it, a catalogue does not show it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from demo_shop.vocabulary import BRANDS, COLOURS, PATTERNS, PRODUCT_TYPES
from demo_shop.wording import TextFacts, write_description, write_title

ID_PREFIX = "demo"
VARIANT_EVERY = 9  # each ninth product is another size of the one before it
OMITTED_FACT_PROB = 1 / 3  # titles that leave out colour or pattern
MISLEADING_PROB = 0.08
PLAIN_PATTERN_BONUS = 1.0  # log weight: plain goods are the most common, as in real shops
NEUTRALS = ("white", "black", "grey")


@dataclass(frozen=True)
class DemoProduct:
    """One product with all facts that texts and pictures are made from.

    Attributes:
        id: Catalogue id, ``demo-<seed>-<index>``; `DemoWorld.find` goes back from it.
        index: Number of the product in its world, from 0.
        type, colour, pattern, material: Keys of the tables in `vocabulary`.
        second_colour: Colour of the pattern on top of `colour` (same as `colour` for plain goods).
        category: Path, root first.
        attributes: What the catalogue tells; lacks colour or pattern where `silent_about` says so.
        silent_about: Fact that no text mentions ("colour", "pattern") or "": only the picture tells.
        misleading: The words in the title that name a wrong type or colour, or "".
        images: Number of photos, 1 to 3.
        family: Id shared by all variants (sizes) of one product; they look the same.
        taste: Hidden factors, [4] floats; decides who buys it.
        looks: Seed of the shape: every photo of a family shows the same thing.
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
    silent_about: str
    misleading: str
    images: int
    family: str
    taste: tuple[float, float, float, float]
    looks: tuple[int, int]


class DemoWorld:
    """An endless shop. Products depend on (seed, index) alone, never on the order of asking.

    Args:
        seed: Two worlds of one seed are equal, of two seeds share nothing but the vocabulary.
        types: The product types to draw from; leave some out to hold them back from training.

    Raises:
        ValueError: A type is not in `vocabulary.TYPES`, or the seed is negative.
    """

    def __init__(self, seed: int, types: Sequence[str] | None = None) -> None:
        self.seed = seed
        self.types = tuple(types) if types is not None else tuple(PRODUCT_TYPES)
        unknown = sorted(set(self.types) - set(PRODUCT_TYPES))
        if unknown or not self.types:
            raise ValueError(f"unknown product types {unknown}; known are {', '.join(PRODUCT_TYPES)}")
        if seed < 0:
            raise ValueError(f"the seed must be 0 or more, not {seed}")

    def product(self, index: int, *, title_revision: int = 0, attribute_revision: int = 0) -> DemoProduct:
        """Return product `index`; revisions reword the title or change the size, never what it looks like.

        Raises:
            ValueError: `index` is negative.
        """
        if index < 0:
            raise ValueError(f"products count from 0, not {index}")
        base = index - 1 if index % VARIANT_EVERY == VARIANT_EVERY - 1 else index
        rng = np.random.default_rng((self.seed, base))
        kind = str(rng.choice(self.types))
        facts = PRODUCT_TYPES[kind]
        taste = rng.normal(size=4)
        brand = BRANDS[_lean(taste, [b.taste for b in BRANDS], rng)]
        colour = list(COLOURS)[_lean(taste, [c.taste for c in COLOURS.values()], rng)]
        pattern = _choose_pattern(taste, rng)
        second = colour if pattern == "plain" else _second_colour(colour, rng)
        material = str(rng.choice(facts.materials))
        size_at = int(rng.integers(len(facts.sizes))) + (index - base) + attribute_revision
        own = np.random.default_rng((self.seed, index, 1))
        wording = TextFacts(
            type=kind, brand=brand, colour=colour, pattern=pattern, material=material,
            size=facts.sizes[size_at % len(facts.sizes)],
            silent_about=str(own.choice(("colour", "pattern"))) if own.random() < OMITTED_FACT_PROB else "",
            misleading=bool(own.random() < MISLEADING_PROB),
        )  # fmt: skip
        images = int(own.choice((1, 2, 3), p=(0.35, 0.4, 0.25)))
        title, misleading = write_title(wording, np.random.default_rng((self.seed, index, 2, title_revision)))
        return DemoProduct(
            id=self.product_id(index), index=index, type=kind, category=facts.category, colour=colour,
            second_colour=second, pattern=pattern, material=material, brand=brand.name, size=wording.size,
            title=title, description=write_description(wording, own), attributes=_attributes(wording),
            silent_about=wording.silent_about, misleading=misleading, images=images,
            family=self.product_id(base), taste=_four(taste), looks=(self.seed, base),
        )  # fmt: skip

    def product_id(self, index: int) -> str:
        """Return the catalogue id of product `index`."""
        return f"{ID_PREFIX}-{self.seed}-{index:06d}"

    def find(self, product_id: str) -> DemoProduct:
        """Return the product behind a catalogue id, with all its hidden facts.

        Raises:
            KeyError: The id is not one of this world.
        """
        prefix, _, number = product_id.rpartition("-")
        if prefix != f"{ID_PREFIX}-{self.seed}" or not (number.isascii() and number.isdigit()):
            raise KeyError(product_id)
        return self.product(int(number))


def _lean(taste: np.ndarray, places: Sequence[Sequence[float]], rng: np.random.Generator) -> int:
    """Choose an option with a chance that grows with how well it suits the taste."""
    scores = np.exp(np.asarray(places) @ taste * 0.6)
    return int(rng.choice(len(scores), p=scores / scores.sum()))


def _choose_pattern(taste: np.ndarray, rng: np.random.Generator) -> str:
    scores = np.array([p.taste for p in PATTERNS.values()]) @ taste * 0.6
    scores[list(PATTERNS).index("plain")] += PLAIN_PATTERN_BONUS
    chances = np.exp(scores)
    return list(PATTERNS)[int(rng.choice(len(chances), p=chances / chances.sum()))]


def _second_colour(colour: str, rng: np.random.Generator) -> str:
    """Return a colour that stands out from `colour`; neutrals are the usual partners."""
    if colour in NEUTRALS:
        clash = {"grey": ("grey", "turquoise", "brown"), "white": ("white", "yellow"), "black": ("black",)}
        return str(rng.choice([c for c in COLOURS if c not in clash[colour]]))
    if colour in ("yellow", "pink", "turquoise", "orange"):
        return str(rng.choice(("white", "black"), p=(0.6, 0.4)))
    return "white" if rng.random() < 0.75 else str(rng.choice(("yellow", "pink")))


def _attributes(wording: TextFacts) -> dict[str, str]:
    facts = {
        "colour": wording.colour, "pattern": wording.pattern, "material": wording.material,
        "brand": wording.brand.name, "size": wording.size,
    }  # fmt: skip
    return {key: value for key, value in facts.items() if key != wording.silent_about}


def _four(values: np.ndarray) -> tuple[float, float, float, float]:
    a, b, c, d = (float(v) for v in values)
    return a, b, c, d
