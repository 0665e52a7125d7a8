"""The vocabulary is broad, and says nothing of what training must not see."""

from recipes.moon_tiny.corpora import HELD_OUT
from recipes.moon_tiny.corpus_words import ADJECTIVES, COLOURS, DEPARTMENTS, PATTERNS, SYLLABLES, WHOSE, words_of


def test_hundreds_of_nouns_none_empty_or_twice_in_a_list() -> None:
    lists = [words_of(part) for shop in DEPARTMENTS.values() for part in vars(shop).values()]
    lists += [words_of(part) for part in (ADJECTIVES, COLOURS, PATTERNS, SYLLABLES, WHOSE)]
    for one in lists:
        assert all(one)
        assert len(one) == len(set(one)), one
    assert sum(len(words_of(shop.nouns)) for shop in DEPARTMENTS.values()) > 500


def test_held_out_types_are_not_named() -> None:
    nouns = {noun for shop in DEPARTMENTS.values() for noun in words_of(shop.nouns)}
    assert not [noun for noun in nouns if any(name in noun for name in HELD_OUT)]
