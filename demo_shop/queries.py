"""Search queries of shoppers for a demo product; wording and word order differ from every title."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from demo_shop.vocabulary import COLOURS, PATTERNS, PRODUCT_TYPES, Colour, Pattern, ProductType
from demo_shop.world import DemoProduct

QUERY_FACTS = ("type", "colour", "pattern")
VOCABULARY_BY_FACT: Mapping[str, Mapping[str, ProductType | Colour | Pattern]] = {
    "type": PRODUCT_TYPES,
    "colour": COLOURS,
    "pattern": PATTERNS,
}
OWN_WORDS_PROB = 0.8
"""Probability that a shopper uses another word than the shop; high enough that TF-IDF fails even with 100 products."""

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
    """A text query and the facts that it names; a fact that it does not name is ""."""

    text: str
    type: str = ""
    colour: str = ""
    pattern: str = ""

    def matches(self, product: DemoProduct) -> bool:
        """Return whether a product has every fact that the query names."""
        return all(getattr(self, fact) in ("", getattr(product, fact)) for fact in QUERY_FACTS)


def draw_query(product: DemoProduct, rng: np.random.Generator, facts: Sequence[str] = QUERY_FACTS) -> ShopperQuery:
    """Return a query of a shopper who wants a product.

    Args:
        product: the wanted product.
        rng: decides the words and their order.
        facts: which of type, colour and pattern the query names; the type should be one of them.

    Raises:
        ValueError: ``facts`` is empty or has another fact.
    """
    unknown = sorted(set(facts) - set(QUERY_FACTS))
    if unknown or not facts:
        raise ValueError(f"a query names at least one of {', '.join(QUERY_FACTS)}; got {list(facts)}")
    words = {fact: _choose_word(product, fact, rng) for fact in QUERY_FACTS if fact in facts}
    if len(words) == len(QUERY_FACTS):
        text = str(rng.choice(QUERY_TEMPLATES)).format(**words)
    else:
        text = str(rng.choice((" ", ", "))).join(rng.permutation(list(words.values())))
    return ShopperQuery(text, **{fact: getattr(product, fact) for fact in words})


def _choose_word(product: DemoProduct, fact: str, rng: np.random.Generator) -> str:
    entry = VOCABULARY_BY_FACT[fact][getattr(product, fact)]
    own_words = entry.query_names + getattr(entry, "phrases", ())
    return str(rng.choice(own_words)) if rng.random() < OWN_WORDS_PROB else entry.names[0]
