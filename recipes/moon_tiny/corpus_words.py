"""The vocabulary of the composed texts: words of 29 departments, and templates (``corpus_words.toml``)."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

WORDS_FILE = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True)
class Department:
    """The words of a shop's department.

    Attributes:
        nouns: what it sells.
        kinds: materials or kinds.
        phrases: phrases that titles put after the noun.
        features: features that descriptions mention.
    """

    nouns: tuple[str, ...]
    kinds: tuple[str, ...]
    phrases: tuple[str, ...]
    features: tuple[str, ...]


@dataclass(frozen=True)
class Vocabulary:
    """All word lists; random draws depend on the order of every list.

    Attributes:
        departments: by category path ("Women/Clothing").
        colours, patterns, adjectives, audiences: words that fit every department.
        brand_syllables: two of them make an invented brand.
        model_names: words for model names.
        titles, labels, sentences: templates in ``str.format`` syntax.
    """

    departments: Mapping[str, Department]
    colours: tuple[str, ...]
    patterns: tuple[str, ...]
    adjectives: tuple[str, ...]
    audiences: tuple[str, ...]
    brand_syllables: tuple[str, ...]
    model_names: tuple[str, ...]
    titles: tuple[str, ...]
    labels: tuple[str, ...]
    sentences: tuple[str, ...]


@cache
def read_vocabulary() -> Vocabulary:
    """Return the vocabulary; the file is read once."""
    tables = tomllib.loads(WORDS_FILE.read_text(encoding="utf-8"))
    departments = {name: Department(**_as_tuples(lists)) for name, lists in tables.pop("departments").items()}
    return Vocabulary(departments, **_as_tuples(tables))


def _as_tuples(lists: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(words) for name, words in lists.items()}
