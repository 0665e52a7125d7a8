"""The compact model's tokenizer: SmolLM2's byte-level BPE with its vocabulary cut to the first merges.

BPE merges are learned in order of frequency and each is built from earlier ones, so the first n of them are a
complete tokenizer of their own: rare words fall into a few more pieces, nothing becomes unknown. Ids:
0–3 special, 4–7 reserved, 8–263 the 256 bytes, from 264 on one id a merge.
"""

from typing import Any

from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

PAD_ID, IMAGE_ID, START_ID, SEPARATOR_ID = 0, 1, 2, 3
"""Special ids: padding · place of a visual token · first position (attention sink) · between two parts."""

SPECIAL_TOKENS = ("<|pad|>", "<|image|>", "<|start|>", "<|separator|>", *(f"<|reserved_{i}|>" for i in range(4)))
VOCABULARY_SIZE = 12_288
"""Default size: special, bytes and 12,024 merges."""


def cut_vocabulary(source: dict[str, Any], size: int = VOCABULARY_SIZE) -> Tokenizer:
    """Build the cut tokenizer from a byte-level BPE's ``tokenizer.json``.

    Special tokens are rows of the vocabulary that no merge produces, so a title that contains the characters
    ``<|image|>`` is tokenised as those characters. Every byte has a row (SmolLM2 lacks 21 of them and would
    drop such bytes without a word), hence any text comes back from ``decode(encode(text))`` unchanged.

    Args:
        source: the parsed ``tokenizer.json``; its ``model`` holds the merges in the order they were learned.
        size: rows of the vocabulary wanted.

    Returns:
        A tokenizer that adds no special tokens by itself and splits numbers into digits, as SmolLM2 does.

    Raises:
        ValueError: when the source is no BPE or has too few merges.
    """
    model = source.get("model", {})
    wanted = size - len(SPECIAL_TOKENS) - 256
    if model.get("type") != "BPE" or not 0 <= wanted <= len(model["merges"]):
        found = f"{model.get('type')} with {len(model.get('merges', []))} merges"
        raise ValueError(f"a vocabulary of {size} needs a BPE with at least {wanted} merges, not {found}")
    merges = [(left, right) for left, right in (_pair(merge) for merge in model["merges"][:wanted])]
    rows = [*SPECIAL_TOKENS, *sorted(pre_tokenizers.ByteLevel.alphabet()), *(left + right for left, right in merges)]
    tokenizer = Tokenizer(BPE(vocab={text: index for index, text in enumerate(rows)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def find_source_rows(tokenizer: Tokenizer, source: dict[str, Any]) -> list[int | None]:
    """Find each row of the cut vocabulary in the source's: how its embedding matrix is cut.

    Returns:
        One source id a row; None for special tokens and for the bytes that the source lacks.
    """
    known: dict[str, int] = source["model"]["vocab"]
    rows = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    return [known.get(text) if index >= len(SPECIAL_TOKENS) else None for text, index in rows]


def _pair(merge: str | list[str]) -> tuple[str, str]:
    """Merges are written "a b" in old files and ["a", "b"] in new ones."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right
