"""Product descriptions of one to four sentences, composed: real catalogues have them.

What a department's products have goes into sentences that any shop might write, so that the student learns which few
words of sixty say what the thing is.
"""

import numpy as np

from recipes.moon_tiny.corpus_words import split_words

SENTENCE_TEMPLATES = (
    "This {adjective} {noun} by {brand} is made of {kind} and comes with {feature}.",
    "{brand}'s {name} {noun} in {colour} is perfect for every occasion.",
    "Meet the {name} {noun} from {brand}: {feature}, {feature2} and a {colour} finish.",
    "Crafted from {kind}, the {noun} features {feature} and {feature2}.",
    "Thanks to {feature} and {feature2} it soon becomes a favourite.",
    "The {name} {noun} was developed with people who use it every day.",
    "Its {pattern} look in {colour} goes with almost anything.",
    "Also comes in {colour}.",
    "Enjoy {feature} at a price that everybody can afford.",
    "Upgrade your everyday life with this {adjective} {kind} {noun}.",
    "A {adjective} choice {said}.",
    "Whether at home or on the go, this {noun} never lets you down.",
    "You will love {feature}.",
    "Get ready for the season with the {name} {noun}.",
    "Made with great care by {brand}, a name that stands for quality.",
    "Easy to clean and built to last.",
    "An ideal gift for family and friends.",
    "{colour} {noun}, {said}, {kind}.",
    "Experience the difference: {feature}.",
    "Years of experience went into the {name} by {brand}.",
)

MODEL_NAME_WORDS = (
    "Summit, Alpine, Aurora, Harbour, Nova, Trailblazer, Heritage, Luna, Atlas, Breeze, Cascade, Ember, Glacier, "
    "Horizon, Juniper, Maple, Meadow, Nomad, Oasis, Pioneer, Raven, Sierra, Solstice, Terra, Velocity, Willow, "
    "Zenith, Urban, Metro, Studio, Essential, Signature, Fusion, Eclipse, Titan, Venture, Explorer, Harmony, Bliss, "
    "Classic, Pro, Elite"
)
"""Names that shops give their models; they say little of what a thing is, which is what they are here for."""


def draw_model_name(rng: np.random.Generator) -> str:
    """Return a model's name: one or two of `MODEL_NAME_WORDS`, sometimes with a number."""
    chosen = [
        str(one) for one in rng.choice(split_words(MODEL_NAME_WORDS), size=int(rng.integers(1, 3)), replace=False)
    ]
    return " ".join([*chosen, *([str(int(rng.integers(2, 900)))] if rng.random() < 0.15 else [])])


def compose_description(features: str, slots: dict[str, str], rng: np.random.Generator) -> str:
    """Compose one to four sentences about a product.

    Args:
        features: a department's.
        slots: noun, name, brand, colour, pattern, kind, said, adjective.
        rng: draws the sentences and the features in them.
    """
    drawn = [str(one) for one in rng.choice(split_words(features), size=2, replace=False)]
    chosen = rng.choice(len(SENTENCE_TEMPLATES), size=int(rng.integers(1, 5)), replace=False)
    filled = {**slots, "feature": drawn[0], "feature2": drawn[1]}
    said = [SENTENCE_TEMPLATES[int(number)].format(**filled) for number in chosen]
    return " ".join(one[0].upper() + one[1:] for one in said)
