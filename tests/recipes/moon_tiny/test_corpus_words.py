"""Tests of the vocabulary: broad, without the words of held-out product types."""

from demo_shop.splits import HELD_OUT_TYPES
from recipes.moon_tiny.corpus_words import read_vocabulary

VOCABULARY = read_vocabulary()


def test_hundreds_of_nouns_none_empty_or_twice_in_a_list() -> None:
    lists = [words for department in VOCABULARY.departments.values() for words in vars(department).values()]
    lists += [words for words in vars(VOCABULARY).values() if isinstance(words, tuple)]
    assert len(lists) == 4 * len(VOCABULARY.departments) + 9
    for words in lists:
        assert all(words)
        assert len(words) == len(set(words)), words
    assert sum(len(department.nouns) for department in VOCABULARY.departments.values()) > 500


def test_held_out_types_are_not_named() -> None:
    nouns = {noun for department in VOCABULARY.departments.values() for noun in department.nouns}
    assert not [noun for noun in nouns if any(name in noun for name in HELD_OUT_TYPES)]
