"""Tests of composed descriptions: complete sentences about the product, the same for a seed."""

import numpy as np

from recipes.moon_tiny.corpus_sentences import compose_description, draw_model_name
from recipes.moon_tiny.corpus_words import read_vocabulary

NAMES = ("noun", "name", "brand", "colour", "pattern", "material", "phrase", "adjective")
SLOTS = {name: f"<{name}>" for name in NAMES}
FEATURES = ("soft seams", "a hidden zip")


def test_every_sentence_occurs_with_all_its_slots_filled() -> None:
    texts = [compose_description(FEATURES, SLOTS, np.random.default_rng(seed)) for seed in range(300)]
    assert texts == [compose_description(FEATURES, SLOTS, np.random.default_rng(seed)) for seed in range(300)]
    for sentence in read_vocabulary().sentences:
        assert any(sentence.split("{")[0][1:] in text for text in texts), sentence
    assert not any("{" in text for text in texts)
    assert all(text[0] == text[0].upper() and text.endswith(".") for text in texts)
    assert all(any(feature in text for text in texts) for feature in FEATURES)


def test_a_model_has_one_or_two_names_and_sometimes_a_number() -> None:
    drawn = [draw_model_name(np.random.default_rng(seed)).split() for seed in range(200)]
    assert {len(words) for words in drawn} == {1, 2, 3}
    assert {word for words in drawn for word in words if not word.isdigit()} <= set(read_vocabulary().model_names)
    assert any(words[-1].isdigit() for words in drawn)
