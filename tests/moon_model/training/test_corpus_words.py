"""The vocabulary is broad, and says nothing of what training must not see."""

from moon_model.training.corpora import HELD_OUT
from moon_model.training.corpus_words import ADJECTIVES, COLOURS, DEPARTMENTS, PATTERNS, SYLLABLES


def words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def test_hundreds_of_nouns_none_empty_or_twice_in_a_list() -> None:
    lists = [words(part) for parts in DEPARTMENTS.values() for part in parts]
    lists += [words(part) for part in (ADJECTIVES, COLOURS, PATTERNS, SYLLABLES)]
    for one in lists:
        assert all(one)
        assert len(one) == len(set(one)), one
    assert sum(len(words(nouns)) for nouns, _, _ in DEPARTMENTS.values()) > 350


def test_held_out_types_are_not_named() -> None:
    nouns = {noun for names, _, _ in DEPARTMENTS.values() for noun in words(names)}
    assert not [noun for noun in nouns if any(name in noun for name in HELD_OUT)]
