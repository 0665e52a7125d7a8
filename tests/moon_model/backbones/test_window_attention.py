"""Tests that attention of all windows of one length in one call equals transformers' loop over windows."""

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLModel
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLVisionAttention

from moon_model.backbones.window_attention import WindowAttention, group_windows_by_length


@pytest.fixture(scope="module")
def tower() -> torch.nn.Module:
    torch.manual_seed(0)
    vision = {"depth": 3, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 32,
              "fullatt_block_indexes": [1], "window_size": 56}  # fmt: skip
    text = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2,
            "num_key_value_heads": 2, "vocab_size": 64,
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3]}}  # fmt: skip
    config = Qwen2_5_VLConfig(vision_config=vision, text_config=text)
    return Qwen2_5_VLModel._from_config(config, attn_implementation="sdpa").visual.eval()


@pytest.mark.parametrize("grid", [[(1, 8, 8)], [(1, 8, 8), (1, 8, 8)], [(1, 6, 10), (1, 4, 4), (1, 14, 2)]])
def test_views_of_any_sizes_are_seen_as_before(tower: torch.nn.Module, grid: list[tuple[int, int, int]]) -> None:
    packed = copy.deepcopy(tower)
    for block in packed.blocks:
        block.attn = WindowAttention(block.attn)
    patches = torch.randn(sum(rows * columns for _, rows, columns in grid), 3 * 2 * 14 * 14)
    wanted, found = (one(patches, grid_thw=torch.tensor(grid)).pooler_output for one in (tower, packed))
    assert wanted.std() > 0.01
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    wanted.sum().backward()
    found.sum().backward()
    for before, after in zip(tower.parameters(), packed.parameters(), strict=True):
        torch.testing.assert_close(after.grad, before.grad, atol=1e-4, rtol=1e-3)
        before.grad = None


def test_weights_are_the_same_objects(tower: torch.nn.Module) -> None:
    source: Qwen2_5_VLVisionAttention = tower.blocks[0].attn
    taken = WindowAttention(source)
    assert taken.qkv.weight is source.qkv.weight
    assert list(taken.state_dict()) == list(source.state_dict())


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_every_place_belongs_to_its_own_window(lengths: list[int]) -> None:
    ends = torch.tensor([0, *lengths]).cumsum(0)
    found = sorted(rows.tolist() for part in group_windows_by_length(ends.int()) for rows in part)
    places = range(sum(lengths))
    assert found == [list(places[a:b]) for a, b in pairwise(ends) if a < b]
