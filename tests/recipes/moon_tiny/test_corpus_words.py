"""The vocabulary is broad, and says nothing of what training must not see."""

from recipes.moon_tiny.corpora import HELD_OUT_TYPES
from recipes.moon_tiny.corpus_words import (
    ADJECTIVE_WORDS,
    AUDIENCE_WORDS,
    BRAND_SYLLABLES,
    COLOUR_WORDS,
    DEPARTMENTS,
    PATTERN_WORDS,
    split_words,
)


def test_hundreds_of_nouns_none_empty_or_twice_in_a_list() -> None:
    lists = [split_words(part) for shop in DEPARTMENTS.values() for part in vars(shop).values()]
    lists += [
        split_words(part) for part in (ADJECTIVE_WORDS, COLOUR_WORDS, PATTERN_WORDS, BRAND_SYLLABLES, AUDIENCE_WORDS)
    ]
    for one in lists:
        assert all(one)
        assert len(one) == len(set(one)), one
    assert sum(len(split_words(shop.nouns)) for shop in DEPARTMENTS.values()) > 500


def test_held_out_types_are_not_named() -> None:
    nouns = {noun for shop in DEPARTMENTS.values() for noun in split_words(shop.nouns)}
    assert not [noun for noun in nouns if any(name in noun for name in HELD_OUT_TYPES)]
