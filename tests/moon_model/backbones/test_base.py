import pytest
import torch
from transformers import LlamaModel

from moon_model.backbones import BACKBONES, build_backbone
from moon_model.backbones.base import build_attention_bias, compute_sequential_positions, install_experts
from moon_model.guided_moe import GuidedMoE

MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]])


def test_positions_count_real_tokens():
    assert compute_sequential_positions(MASK)[0].tolist()[:3] == [0, 1, 2]
    assert compute_sequential_positions(MASK)[2].tolist() == [0, 0, 0, 0]


def test_causal_needs_no_mask_behind_right_padding():
    assert build_attention_bias(MASK, causal=True, hidden=torch.zeros(1)) is None


def test_bidirectional_masks_only_what_is_padded():
    assert build_attention_bias(torch.ones(2, 3), causal=False, hidden=torch.zeros(1)) is None
    bias = build_attention_bias(MASK, causal=False, hidden=torch.zeros(1))
    assert bias.shape == (3, 1, 4, 4)
    assert bias[0, 0, 1].tolist() == [True, True, True, False]
    assert bias[2, 0, 0].any(), "an empty row must look at something"


def test_the_mask_of_the_caller_is_left_alone():
    before = MASK.clone()
    build_attention_bias(MASK, causal=False, hidden=torch.zeros(1))
    assert torch.equal(MASK, before)


def test_experts_start_as_copies_of_the_ffn_they_replace(tiny_compact_config):
    config = tiny_compact_config()
    decoder = LlamaModel(config.base_config)
    dense = [layer.mlp for layer in decoder.layers]
    install_experts(decoder.layers, config)
    assert [isinstance(layer.mlp, GuidedMoE) for layer in decoder.layers] == [False, True, True]
    gate_up = torch.cat([dense[1].gate_proj.weight, dense[1].up_proj.weight])
    for number in range(config.num_experts):
        assert torch.equal(decoder.layers[1].mlp.gate_up_proj[number], gate_up)
        assert torch.equal(decoder.layers[1].mlp.down_proj[number], dense[1].down_proj.weight)


def test_experts_may_be_narrower_than_the_ffn(tiny_compact_config):
    config = tiny_compact_config(moe_intermediate_size=16)
    decoder = LlamaModel(config.base_config)
    install_experts(decoder.layers, config)
    assert decoder.layers[1].mlp.gate_up_proj.shape == (5, 32, 32)


@pytest.mark.parametrize("name", ["compact", "qwen2_5_vl"])
def test_config_chooses_the_backbone(name, tiny_compact_config, tiny_qwen_config):
    config = {"compact": tiny_compact_config, "qwen2_5_vl": tiny_qwen_config}[name]()
    assert type(build_backbone(config)) is BACKBONES[name]
