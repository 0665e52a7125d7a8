"""Tests that a decoder cut from a source computes the same as the source, in the new space."""

import pytest
import torch
from transformers import LlamaModel

from moon_model.configuration_moon import CompactConfig, MoonConfig
from moon_model.modeling_moon import MoonModel
from moon_model.tokenization import SEPARATOR_ID, START_ID
from recipes.weight_import.decoder import (
    INITIAL_OUTPUT_SCALE,
    LinearMap,
    build_token_rows,
    cut_embedding,
    fill_decoder,
    get_compact_backbone,
    scale_outputs,
    select_channels,
)

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


SAME = LinearMap(torch.eye(32), torch.eye(32))


@torch.inference_mode()
def test_uncut_and_in_its_own_space_the_decoder_computes_the_sources_states() -> None:
    llama, model = source(), compact()
    fill_decoder(model, llama.state_dict(), llama.embed_tokens.weight.detach(), SAME)
    expected = llama(input_ids=BATCH["input_ids"]).last_hidden_state / llama.norm.weight
    found = model(**BATCH).last_hidden_state
    assert torch.allclose(found[..., :-1], expected[..., :-1], atol=1e-5)
    assert not found[..., -1].any()  # not part of the output


@torch.inference_mode()
def test_in_a_rotated_space_it_computes_the_rotated_states() -> None:
    llama, model = source(), compact()
    old, rotation = llama.embed_tokens.weight.detach(), torch.linalg.qr(torch.randn(32, 32))[0]
    fitted = LinearMap.fit(old, old @ rotation.T)
    torch.testing.assert_close(fitted.write, rotation, atol=0.02, rtol=0)
    torch.testing.assert_close(fitted.read, rotation.T, atol=0.02, rtol=0)
    exact = LinearMap(rotation.T, rotation)
    fill_decoder(model, llama.state_dict(), old @ rotation.T, exact)
    expected = llama(input_ids=BATCH["input_ids"]).last_hidden_state / llama.norm.weight @ rotation.T
    assert torch.allclose(model(**BATCH).last_hidden_state[..., :-1], expected[..., :-1], atol=1e-4)


def test_rows_hold_the_teachers_vectors_and_are_equally_long() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(5, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    vectors[2] = 0.0  # a token that is no text by itself
    rows = build_token_rows(vectors, 10)
    assert rows.norm(dim=1) == pytest.approx(torch.ones(5))
    torch.testing.assert_close(torch.nn.functional.normalize(rows[:, :6], dim=1), vectors)
    assert rows[2].nonzero().flatten().tolist() == [9]
    assert not rows[:, 6:9].any()


@torch.inference_mode()
def test_scaled_layers_change_little() -> None:
    llama, model = source(), compact()
    fill_decoder(model, llama.state_dict(), llama.embed_tokens.weight.detach(), SAME)
    embedded = get_compact_backbone(model).decoder.norm(llama.embed_tokens(BATCH["input_ids"]))
    before = model(**BATCH).last_hidden_state
    scale_outputs(model, BATCH)
    after = model(**BATCH).last_hidden_state
    assert (after - embedded).norm() < 3 * INITIAL_OUTPUT_SCALE * embedded.norm()
    assert (before - embedded).norm() > 2 * (after - embedded).norm()


@torch.inference_mode()
def test_cut_it_has_the_first_layers_and_the_strongest_channels() -> None:
    llama, model = source(), compact(layers=2, width=16)
    fill_decoder(model, llama.state_dict(), llama.embed_tokens.weight.detach(), SAME)
    keep = select_channels(llama.state_dict(), "layers.0.mlp.", 16)
    folded = llama.layers[0].mlp.up_proj.weight[keep] * llama.layers[0].post_attention_layernorm.weight
    assert torch.equal(get_compact_backbone(model).decoder.layers[0].mlp.up_proj.weight, folded)
    assert model(**BATCH).embedding.isfinite().all()


def test_strong_channels_are_found() -> None:
    weights = {f"mlp.{name}_proj.weight": torch.ones(6, 4) for name in ("gate", "up")}
    weights["mlp.down_proj.weight"] = torch.ones(4, 6) * torch.tensor([1.0, 5, 2, 0, 4, 3])
    assert select_channels(weights, "mlp.", 3).tolist() == [1, 4, 5]


def test_embedding_rows() -> None:
    weight = torch.arange(300.0)[:, None].repeat(1, 2)
    rows = [None] * 8 + [None, 20, 299]
    cut = cut_embedding(weight, rows, {"Ċ": 208})
    assert cut[:, 0].tolist() == [0, 0, 1, 208, 0, 0, 0, 0, weight[17:252].mean(), 20, 299]
    assert (START_ID, SEPARATOR_ID) == (2, 3)


def test_only_compact_models_are_taken(tiny_qwen_config: object) -> None:
    with torch.device("meta"):
        qwen = MoonModel(tiny_qwen_config())
    with pytest.raises(TypeError, match="compact"):
        get_compact_backbone(qwen)
