"""What shoppers type when they look for a demo product: other words, in other orders, than any title has."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demo_shop.vocabulary import COLOURS, PATTERNS, PRODUCT_TYPES
from demo_shop.world import DemoProduct

QUERY_FACTS = ("type", "colour", "pattern")
OWN_WORDS_PROB = 0.8  # how often a shopper uses another word than the shop: word counts fail in a shop of 100 too

QUERY_TEMPLATES = (
    "{type} in {colour}, {pattern}",
    "{pattern} {type} {colour}",
    "a {type}, {pattern} and {colour}",
    "{colour} {pattern} {type}",
    "looking for a {type}: {colour}, {pattern}",
    "something {pattern}, {colour}: {type}",
)


@dataclass(frozen=True)
class ShopperQuery:
    """A text query and the facts it names; a fact it leaves open is ""."""

    text: str
    type: str = ""
    colour: str = ""
    pattern: str = ""

    def matches(self, product: DemoProduct) -> bool:
        """Tell whether a product has every fact that the query names."""
        return all(getattr(self, fact) in ("", getattr(product, fact)) for fact in QUERY_FACTS)


def draw_query(product: DemoProduct, rng: np.random.Generator, facts: Sequence[str] = QUERY_FACTS) -> ShopperQuery:
    """Return a query of someone who has this product in mind.

    Args:
        product: What is wanted.
        rng: Chooses words and their order.
        facts: Which of type, colour and pattern the query names; the type should be among them.

    Raises:
        ValueError: `facts` is empty or names something else.
    """
    unknown = sorted(set(facts) - set(QUERY_FACTS))
    if unknown or not facts:
        raise ValueError(f"a query names at least one of {', '.join(QUERY_FACTS)}; got {list(facts)}")
    words = {fact: _word(product, fact, rng) for fact in QUERY_FACTS if fact in facts}
    if len(words) == len(QUERY_FACTS):
        text = str(rng.choice(QUERY_TEMPLATES)).format(**words)
    else:
        text = str(rng.choice((" ", ", "))).join(rng.permutation(list(words.values())))
    return ShopperQuery(text, **{fact: getattr(product, fact) for fact in words})


def _word(product: DemoProduct, fact: str, rng: np.random.Generator) -> str:
    if fact == "type":
        names, asked = PRODUCT_TYPES[product.type].names, PRODUCT_TYPES[product.type].asked
    elif fact == "colour":
        names, asked = COLOURS[product.colour].names, COLOURS[product.colour].asked
    else:
        pattern = PATTERNS[product.pattern]
        names, asked = pattern.names, pattern.asked + pattern.phrases
    return str(rng.choice(asked)) if rng.random() < OWN_WORDS_PROB else names[0]
