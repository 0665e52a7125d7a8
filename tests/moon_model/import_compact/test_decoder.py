"""Cutting and rotating must change exactly what they say, and nothing else."""

import pytest
import torch
from transformers import LlamaModel

from moon_model.configuration_moon import CompactConfig, MoonConfig
from moon_model.import_compact.decoder import (
    compact_backbone,
    cut_embedding,
    fill_decoder,
    rotate,
    strongest_channels,
    whitening,
)
from moon_model.modeling_moon import MoonModel
from moon_model.tokenization import SEPARATOR, START

SHAPE = {
    "vocab_size": 300, "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.2,
}  # fmt: skip


def source(layers: int = 4, width: int = 48) -> LlamaModel:
    torch.manual_seed(0)
    config = CompactConfig(**SHAPE, num_hidden_layers=layers, intermediate_size=width)
    model = LlamaModel._from_config(config, attn_implementation="sdpa").eval()
    for name, weight in model.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(weight, 0.5, 2.0)
    return model


def compact(layers: int = 4, width: int = 48) -> MoonModel:
    base = CompactConfig(**SHAPE, num_hidden_layers=layers, intermediate_size=width, image_size=64)
    torch.manual_seed(1)
    return MoonModel(MoonConfig(base_config=base, num_experts=4, moe_layers=[1, 3][: layers // 2])).eval()


BATCH = {
    "input_ids": torch.tensor([[2, 9, 40, 77, 120, 9]]),
    "attention_mask": torch.ones(1, 6, dtype=torch.long),
    "segment_ids": torch.tensor([[0, 3, 3, 4, 4, 5]]),
}


@torch.inference_mode()
def test_uncut_the_decoder_computes_the_sources_states() -> None:
    llama, model = source(), compact()
    fill_decoder(model, llama.state_dict(), llama.embed_tokens.weight.detach())
    expected = llama(input_ids=BATCH["input_ids"]).last_hidden_state / llama.norm.weight
    assert torch.allclose(model(**BATCH).last_hidden_state, expected, atol=1e-5)


@torch.inference_mode()
def test_cut_it_has_the_first_layers_and_the_strongest_channels() -> None:
    llama, model = source(), compact(layers=2, width=16)
    fill_decoder(model, llama.state_dict(), llama.embed_tokens.weight.detach())
    keep = strongest_channels(llama.state_dict(), "layers.0.mlp.", 16)
    folded = llama.layers[0].mlp.up_proj.weight[keep] * llama.layers[0].post_attention_layernorm.weight
    assert torch.equal(compact_backbone(model).decoder.layers[0].mlp.up_proj.weight, folded)
    assert model(**BATCH).embedding.isfinite().all()


def test_strong_channels_are_found() -> None:
    weights = {f"mlp.{name}_proj.weight": torch.ones(6, 4) for name in ("gate", "up")}
    weights["mlp.down_proj.weight"] = torch.ones(4, 6) * torch.tensor([1.0, 5, 2, 0, 4, 3])
    assert strongest_channels(weights, "mlp.", 3).tolist() == [1, 4, 5]


def test_embedding_rows() -> None:
    weight = torch.arange(300.0)[:, None].repeat(1, 2)
    rows = [None] * 8 + [None, 20, 299]
    cut = cut_embedding(weight, rows, {"Ċ": 208})
    assert cut[:, 0].tolist() == [0, 0, 1, 208, 0, 0, 0, 0, weight[17:252].mean(), 20, 299]
    assert (START, SEPARATOR) == (2, 3)


@torch.inference_mode()
def test_a_rotation_turns_the_states_and_nothing_more() -> None:
    llama, model = source(), compact()
    fill_decoder(model, llama.state_dict(), llama.embed_tokens.weight.detach())
    batch = BATCH | {"input_ids": BATCH["input_ids"].clone(), "pixel_values": torch.randn(1, 3, 64, 64)}
    batch = {name: value.repeat(1, 4) if name.endswith(("ids", "mask")) else value for name, value in batch.items()}
    batch["input_ids"][:, 1:17] = model.config.image_token_id
    before = model(**batch)
    rotation = torch.linalg.qr(torch.randn(32, 32))[0]
    rotate(model, rotation, torch.ones(32))
    after = model(**batch)
    assert torch.allclose(after.last_hidden_state, before.last_hidden_state @ rotation.T, atol=1e-4)
    assert torch.allclose(after.router_stats.tokens_per_expert, before.router_stats.tokens_per_expert)


def test_whitening_removes_the_common_direction_and_evens_the_rest() -> None:
    draw = torch.Generator().manual_seed(0)
    spread = torch.logspace(0, -0.5, 16)
    states = torch.randn(4000, 16, generator=draw) * spread + 20.0
    rotation, scales = whitening(states)
    assert torch.allclose(rotation @ rotation.T, torch.eye(16), atol=1e-4)
    white = (states @ rotation.T) * scales
    assert float(white[:, 0].abs().max()) == 0.0
    assert white[:, 1:].std(0).max() / white[:, 1:].std(0).min() < 1.3
    raw, even = (torch.nn.functional.normalize(x, dim=-1) for x in (states, white))
    assert (raw[:100] @ raw[100:200].T).mean() > 0.99
    assert (even[:100] @ even[100:200].T).mean().abs() < 0.05


def test_only_compact_models_are_taken(tiny_qwen_config: object) -> None:
    with torch.device("meta"):
        qwen = MoonModel(tiny_qwen_config())
    with pytest.raises(TypeError, match="compact"):
        compact_backbone(qwen)
