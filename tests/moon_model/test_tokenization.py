"""Tests of cutting a BPE vocabulary: the tokens that are kept, and that any text can be encoded and decoded."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers

from moon_model import checkpoint_dir
from moon_model.tokenization import (
    IMAGE_ID,
    PAD_ID,
    SEPARATOR_ID,
    SPECIAL_TOKENS,
    START_ID,
    VOCABULARY_SIZE,
    cut_vocabulary,
    find_source_rows,
)

MERGES = [["Ġ", "r"], ["e", "d"], ["Ġr", "ed"], ["Ġ", "m"], ["u", "g"], ["Ġm", "ug"]]
FIRST_MERGE = len(SPECIAL_TOKENS) + 256


def source(old_style: bool = False) -> dict[str, Any]:
    """A byte-level BPE in the form of tokenizer.json, with a few bytes missing as in SmolLM2."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())[:-21]
    rows = ["<|endoftext|>", *letters, *("".join(pair) for pair in MERGES)]
    merges = [" ".join(pair) for pair in MERGES] if old_style else MERGES
    return {"model": {"type": "BPE", "vocab": {row: i for i, row in enumerate(rows)}, "merges": merges}}


def test_the_first_merges_are_kept_and_the_rest_falls_into_pieces() -> None:
    whole = cut_vocabulary(source(), FIRST_MERGE + 6)
    assert whole.encode(" red mug").tokens == ["Ġred", "Ġmug"]
    cut = cut_vocabulary(source(), FIRST_MERGE + 3)
    assert cut.get_vocab_size() == FIRST_MERGE + 3
    assert cut.encode(" red mug").tokens == ["Ġred", "Ġ", "m", "u", "g"]


def test_old_and_new_merge_notation_agree() -> None:
    old, new = (cut_vocabulary(source(style), FIRST_MERGE + 6) for style in (True, False))
    assert old.get_vocab() == new.get_vocab()
    assert old.encode(" red mug").ids == new.encode(" red mug").ids


def test_special_ids_are_fixed_and_out_of_reach_of_text() -> None:
    tokenizer = cut_vocabulary(source(), FIRST_MERGE + 6)
    assert [tokenizer.token_to_id(text) for text in SPECIAL_TOKENS[:4]] == [PAD_ID, IMAGE_ID, START_ID, SEPARATOR_ID]
    for text in SPECIAL_TOKENS:
        assert min(tokenizer.encode(text).ids) >= len(SPECIAL_TOKENS)


def test_numbers_fall_into_digits() -> None:
    assert cut_vocabulary(source(), FIRST_MERGE).encode("1200").tokens == ["1", "2", "0", "0"]


def test_source_rows_find_every_kept_token() -> None:
    tokenizer, given_source = cut_vocabulary(source(), FIRST_MERGE + 6), source()
    rows = find_source_rows(tokenizer, given_source)
    assert len(rows) == tokenizer.get_vocab_size()
    assert rows[: len(SPECIAL_TOKENS)] == [None] * len(SPECIAL_TOKENS)
    assert sum(row is None for row in rows[len(SPECIAL_TOKENS) :]) == 21
    names = {index: text for text, index in given_source["model"]["vocab"].items()}
    for index, row in enumerate(rows):
        assert row is None or names[row] == tokenizer.id_to_token(index)


@pytest.mark.parametrize("size", [FIRST_MERGE - 1, FIRST_MERGE + 7])
def test_an_impossible_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="merges"):
        cut_vocabulary(source(), size)


def test_something_else_than_bpe_is_refused() -> None:
    with pytest.raises(ValueError, match="WordPiece"):
        cut_vocabulary({"model": {"type": "WordPiece", "vocab": {}}})


SMALL = cut_vocabulary(source(), FIRST_MERGE + 6)


@given(st.text())
def test_any_text_round_trips(text: str) -> None:
    assert SMALL.decode(SMALL.encode(text).ids, skip_special_tokens=False) == text


@pytest.fixture(scope="module")
def shipped() -> Tokenizer:
    return Tokenizer.from_file(str(checkpoint_dir("moon-tiny") / "tokenizer.json"))


def test_every_code_point_round_trips(shipped: Tokenizer) -> None:
    points = [chr(point) for point in range(0x110000) if not 0xD800 <= point <= 0xDFFF]
    for start in range(0, len(points), 4096):
        text = "".join(points[start : start + 4096])
        assert shipped.decode(shipped.encode(text).ids, skip_special_tokens=False) == text


def test_the_shipped_vocabulary(shipped: Tokenizer) -> None:
    assert shipped.get_vocab_size() == VOCABULARY_SIZE
    assert shipped.encode(" red juice 12").tokens == ["Ġred", "Ġjuice", "Ġ", "1", "2"]
    assert min(shipped.encode("".join(SPECIAL_TOKENS)).ids) >= len(SPECIAL_TOKENS)
