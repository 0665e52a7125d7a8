"""Tests that ONNX Runtime gives the same output as torch."""

import pytest
import torch

from moon_model import checkpoint_dir
from moon_model.backbones.compact import EfficientNetLite0
from moon_model.backbones.onnx_trunk import OnnxTrunk, build_graph
from moon_model.checkpoint import load_state_dict


@pytest.fixture(scope="module")
def trunk() -> EfficientNetLite0:
    """The shipped tower: the tolerance of 1e-4 is for real weights; in 50 random layers rounding errors would grow."""
    prefix = "backbone.vision.trunk."
    state = load_state_dict(checkpoint_dir("moon-tiny"))
    trunk = EfficientNetLite0().eval()
    trunk.load_state_dict({n.removeprefix(prefix): w for n, w in state.items() if n.startswith(prefix)})
    return trunk


@pytest.mark.parametrize("views", [1, 3])
@torch.inference_mode()
def test_the_grid_equals_torchs(trunk: EfficientNetLite0, views: int) -> None:
    pixels = torch.rand(views, 3, 224, 224) * 2 - 1
    grid = OnnxTrunk(trunk)(pixels)
    expected = trunk(pixels)
    assert (grid.shape, grid.dtype) == ((views, 1280, 7, 7), torch.float32)
    assert float(expected.std()) > 0.01
    assert torch.allclose(grid, expected, atol=1e-4)


@torch.inference_mode()
def test_other_sizes_and_channels_last_input(trunk: EfficientNetLite0) -> None:
    pixels = (torch.rand(1, 64, 64, 3) * 2 - 1).permute(0, 3, 1, 2)
    assert torch.allclose(OnnxTrunk(trunk)(pixels), trunk(pixels), atol=1e-4)


def test_the_graph_is_a_copy(trunk: EfficientNetLite0) -> None:
    before = build_graph(trunk).SerializeToString()
    copy = EfficientNetLite0()
    copy.load_state_dict(trunk.state_dict())
    runner, pixels = OnnxTrunk(copy), torch.zeros(1, 3, 64, 64)
    grid = runner(pixels)
    torch.nn.init.zeros_(copy.head.weight)
    assert torch.equal(runner(pixels), grid)
    assert build_graph(trunk).SerializeToString() == before
