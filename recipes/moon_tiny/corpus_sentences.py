"""Composes product descriptions of one to four sentences, similar to those of real catalogues.

They put a department's features into general shop sentences, so that the model learns which few of about sixty words
describe the product.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from recipes.moon_tiny.corpus_words import read_vocabulary

NUMBERED_NAME_PROB = 0.15
"""Probability that a model name ends with a number."""


def draw_model_name(rng: np.random.Generator) -> str:
    """Return the name of a product model: one or two words, sometimes with a number."""
    words = [str(word) for word in rng.choice(read_vocabulary().model_names, size=rng.integers(1, 3), replace=False)]
    if rng.random() < NUMBERED_NAME_PROB:
        words.append(str(rng.integers(2, 900)))
    return " ".join(words)


def compose_description(features: Sequence[str], slots: Mapping[str, str], rng: np.random.Generator) -> str:
    """Return one to four sentences about a product.

    Args:
        features: features of the product's department, at least two.
        slots: values for the other slots of the sentence templates: noun, name, brand, colour, pattern, material,
            phrase, adjective.
        rng: draws the sentences and the two features in them.
    """
    templates = read_vocabulary().sentences
    feature, feature2 = (str(one) for one in rng.choice(features, size=2, replace=False))
    chosen = rng.choice(len(templates), size=rng.integers(1, 5), replace=False)
    sentences = [templates[number].format(**slots, feature=feature, feature2=feature2) for number in chosen]
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)
