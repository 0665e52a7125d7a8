"""Tokenizer of the compact model: SmolLM2's byte-level BPE with its vocabulary cut to the first merges.

BPE merges are learned in order of frequency and each is built from earlier ones, so the first n merges are a complete
tokenizer: rare words become a few more tokens, and every text can be encoded. Ids: 0–3 special, 4–7 reserved, 8–263 the
256 bytes, from 264 on one id per merge.
"""

import unicodedata
from typing import Any

from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

PAD_ID, IMAGE_ID, START_ID, SEPARATOR_ID = 0, 1, 2, 3
"""Special ids: padding · position of a visual token · first position (attention sink) · between two parts."""

SPECIAL_TOKENS = ("<|pad|>", "<|image|>", "<|start|>", "<|separator|>", *(f"<|reserved_{i}|>" for i in range(4)))
VOCABULARY_SIZE = 12_288
"""Default size: special ids, bytes and 12,024 merges."""


def cut_vocabulary(source: dict[str, Any], size: int = VOCABULARY_SIZE) -> Tokenizer:
    """Tokenizer with the first merges of a byte-level BPE.

    No merge produces a special token, so a title that contains the characters ``<|image|>`` is tokenised as those
    characters. Every byte has a row (SmolLM2 lacks 21 of them and would drop such bytes silently), so
    ``decode(encode(text))`` returns any text unchanged.

    Args:
        source: a parsed ``tokenizer.json``; its ``model`` holds the merges in the order in which they were learned.
        size: rows of the vocabulary.

    Returns:
        A tokenizer that adds no special tokens by itself and splits numbers into digits, as SmolLM2 does.

    Raises:
        ValueError: the source is no BPE or has too few merges.
    """
    model = source.get("model", {})
    wanted = size - len(SPECIAL_TOKENS) - 256
    if model.get("type") != "BPE" or not 0 <= wanted <= len(model["merges"]):
        found = f"{model.get('type')} with {len(model.get('merges', []))} merges"
        raise ValueError(f"a vocabulary of {size} needs a BPE with at least {wanted} merges, not {found}")
    merges = [_split_merge(merge) for merge in model["merges"][:wanted]]
    rows = [*SPECIAL_TOKENS, *sorted(pre_tokenizers.ByteLevel.alphabet()), *(left + right for left, right in merges)]
    tokenizer = Tokenizer(BPE(vocab={text: index for index, text in enumerate(rows)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def is_lowercased(stored: bool | None, *, compact: bool) -> bool:
    """Whether text is converted to lower case before it is tokenised.

    Args:
        stored: what the processor's file says; None where it says nothing.
        compact: whether the backbone is the compact one, whose cut vocabulary has a row for " pillow" but splits
            " Pillow" into three tokens.
    """
    return compact if stored is None else stored


def encode_text(tokenizer: Tokenizer, text: str, *, lowercase: bool) -> list[int]:
    """Token ids of one text of a product; none of an empty text."""
    if not text:
        return []
    text = unicodedata.normalize("NFC", text)
    # With a leading space the first word gets the same token as in the middle of a sentence.
    return tokenizer.encode(" " + (text.lower() if lowercase else text), add_special_tokens=False).ids


def find_source_rows(tokenizer: Tokenizer, source: dict[str, Any]) -> list[int | None]:
    """Row of the source's vocabulary for each row of the cut one; used to cut an embedding matrix.

    Args:
        tokenizer: what ``cut_vocabulary`` returned.
        source: the parsed ``tokenizer.json`` it was made from.

    Returns:
        One source id per row; None for special tokens and for bytes that the source lacks.
    """
    known: dict[str, int] = source["model"]["vocab"]
    rows = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    return [known.get(text) if index >= len(SPECIAL_TOKENS) else None for text, index in rows]


def _split_merge(merge: str | list[str]) -> tuple[str, str]:
    """The two parts of a merge, which is "a b" in old files and ["a", "b"] in new ones."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right
