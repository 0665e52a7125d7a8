"""Tests of text queries without torch: the vectors are those of the whole model, for every kind of checkpoint."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from moon_model import checkpoint_dir
from moon_model.checkpoint import save_state
from moon_model.encoder import MoonEncoder
from moon_model.modeling_moon import MoonModel
from moon_model.processing_moon import MoonProcessor
from moon_model.runtime import DType
from moon_model.text_queries import TextQueryEncoder, UnsupportedModelError
from moon_model.tokenization import cut_vocabulary
from tests.moon_model.conftest import compact_config

TEXTS = ["red shirt", "a", "Waterproof <|image|>  JACKET, größe 42", "rote Schuhe " * 80, "日本語 kettle"]
KINDS: dict[str, dict[str, object]] = {
    "plain": {},
    "causal": {"attention_mask_type": "causal", "pooling": "segments"},
    "both ways": {"attention_mask_type": "bidirectional", "pooling": "modalities", "guidance": "soft"},
    "sigmoid": {"router_score": "sigmoid", "num_experts_per_token": 1},
    "prompt": {"prompt": "find: ", "max_title_tokens": 7},
}


def write_model(folder: Path, *, is_packed: bool, fields: dict[str, object]) -> Path:
    torch.manual_seed(3)
    config = compact_config(**fields)
    config.base_config.vocab_size = 264  # every byte
    model = MoonModel(config)
    if is_packed:
        moe = model.moe_layers()[0]
        with torch.no_grad():
            moe.down_proj.copy_(moe.down_proj[:1].expand_as(moe.down_proj))  # equal experts are stored once
        save_state(model.state_dict(), config, folder)
    else:
        model.save_pretrained(folder)
    tokenizer = cut_vocabulary({"model": {"type": "BPE", "merges": []}}, 264)
    MoonProcessor(config, tokenizer).save_pretrained(folder)
    return folder


def compare(folder: Path, dtype: DType = "float32") -> float:
    """Return the lowest cosine of the vectors of both encoders."""
    whole = MoonEncoder.from_pretrained(folder, detector=False, dtype=dtype, device="cpu").encode_queries(TEXTS)
    own = TextQueryEncoder(folder, "v").encode_queries(TEXTS)
    assert np.allclose(np.linalg.norm(own, axis=1), 1, atol=1e-5)
    return float((whole * own).sum(1).min())


@pytest.mark.parametrize(("kind", "is_packed"), [("plain", False), *((kind, True) for kind in KINDS)])
def test_vectors_are_those_of_the_whole_model(tmp_path: Path, kind: str, is_packed: bool) -> None:
    assert compare(write_model(tmp_path / "m", is_packed=is_packed, fields=KINDS[kind])) > 0.99999


def test_vectors_of_the_shipped_model() -> None:
    assert compare(checkpoint_dir("moon-tiny"), "bfloat16") > 0.9999  # the dtype that differs more


def test_a_model_of_another_kind_is_refused(qwen_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="model_type"):
        TextQueryEncoder(qwen_dir, "v")
    folder = write_model(tmp_path / "m", is_packed=False, fields={})
    config = json.loads((folder / "config.json").read_text())
    del config["router_score"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedModelError, match="router_score"):
        TextQueryEncoder(folder, "v")


def test_queries_that_it_cannot_encode(tmp_path: Path) -> None:
    encoder = TextQueryEncoder(write_model(tmp_path / "m", is_packed=False, fields={}), "v")
    with pytest.raises(ValueError, match="no images"):
        encoder.encode_queries(["a"], images=[b"photo"])
    with pytest.raises(ValueError, match="empty"):
        encoder.encode_queries([" \n"])


def test_a_search_by_text_imports_no_heavy_library() -> None:
    """The reason for this module; `benchmarks.search_start` measures it."""
    code = "import sys, jobs.cli, jobs.serving.search, pymilvus, milvus_lite.adapter.grpc.server; print(*sys.modules)"
    names = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    heavy = {"torch", "transformers", "pyspark", "onnxruntime", "great_expectations", "aiohttp"}
    assert heavy & set(names) == set()
