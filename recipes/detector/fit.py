"""The training loop: rendered samples in, averaged weights out."""

import copy
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from recipes.detector.augment import augment_batch
from recipes.detector.loss import compute_detection_loss
from recipes.detector.network import FROZEN_BLOCKS, STRIDE, ProductNet

log = logging.getLogger(__name__)

REPORT_EVERY = 50
"""Steps between two lines of progress, each with a checkpoint: the run may be stopped at any time."""


@dataclass(frozen=True)
class FitConfig:
    """How to train.

    Attributes:
        epochs: passes over the data.
        coarse_epochs: of these, the first ones see photos shrunk to ``coarse_size``: less than half the time for
            most of the learning.
        coarse_size: input side in pixels of the coarse epochs, a multiple of 32.
        batch_size: samples a step.
        head_rate: peak learning rate of neck and head, which start at random.
        trunk_rate: peak learning rate of the pretrained trunk behind its frozen blocks.
        weight_decay: AdamW's.
        warmup: share of all steps over which the rates rise; then they fall along a cosine.
        averaging: decay a step of the moving average of weights that is kept.
        seed: of order and variation.

    Raises:
        ValueError: when a value is out of range.
    """

    epochs: int = 6
    coarse_epochs: int = 4
    coarse_size: int = 128
    batch_size: int = 32
    head_rate: float = 2e-3
    trunk_rate: float = 3e-4
    weight_decay: float = 1e-4
    warmup: float = 0.05
    averaging: float = 0.997
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError("epochs and batch_size must be at least 1")
        if self.coarse_size < 32 or self.coarse_size % 32:
            raise ValueError(f"coarse_size must be a positive multiple of 32, not {self.coarse_size}")


@dataclass(frozen=True)
class RenderedSet:
    """Samples of one or more folders written by ``samples.render``; photos stay on disk until needed."""

    photos: tuple[NDArray[np.uint8], ...]
    labels: tuple[NDArray[np.float32], ...]

    @classmethod
    def open(cls, folders: Sequence[Path]) -> "RenderedSet":
        """Map the folders' files.

        Raises:
            FileNotFoundError: when one holds no rendered samples.
        """
        photos = tuple(np.load(folder / "photos.npy", mmap_mode="r") for folder in folders)
        return cls(photos, tuple(np.load(folder / "labels.npy") for folder in folders))

    def __len__(self) -> int:
        return sum(len(part) for part in self.labels)

    def batches(self, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass in random order: uint8 [size, S, S, 3] and labels [size, K, 5]; a short tail is left out."""
        where = [(part, row) for part, rows in enumerate(self.labels) for row in range(len(rows))]
        order = np.random.default_rng(seed).permutation(len(where))
        for start in range(0, len(order) - size + 1, size):
            chosen = [where[index] for index in order[start : start + size]]
            photos = np.stack([self.photos[part][row] for part, row in chosen])
            labels = np.stack([self.labels[part][row] for part, row in chosen])
            yield torch.from_numpy(photos), torch.from_numpy(labels)


def fit_network(network: ProductNet, data: RenderedSet, config: FitConfig, checkpoint: Path) -> ProductNet:
    """Train and return the moving average of the weights.

    Args:
        network: trained in place.
        data: rendered samples, all of one size.
        config: see ``FitConfig``.
        checkpoint: file that gets the averaged weights every ``REPORT_EVERY`` steps and at the end.

    Raises:
        ValueError: when the data holds less than one batch.
    """
    steps_an_epoch = len(data) // config.batch_size
    if steps_an_epoch == 0:
        raise ValueError(f"{len(data)} samples are less than one batch of {config.batch_size}; render more")
    total = steps_an_epoch * config.epochs
    optimizer, schedule = _optimizer(network, config, total)
    average = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(config.seed)
    step, started = 0, monotonic()
    for epoch in range(config.epochs):
        network.train()
        size = config.coarse_size if epoch < config.coarse_epochs else None
        for rendered, labels in data.batches(config.batch_size, config.seed + epoch):
            photos, moved = augment_batch(rendered, labels, generator)
            losses = _step(network, optimizer, shrink_photos(photos, size) if size else photos, moved)
            schedule.step()
            step += 1
            _update_average(average, network, min(config.averaging, step / (step + 10)))
            if step % REPORT_EVERY == 0 or step == total:
                _report(step, total, losses, monotonic() - started)
                torch.save({"network": average.state_dict()}, checkpoint)
    return average


def shrink_photos(photos: Tensor, size: int) -> Tensor:
    """Float photos [B, S, S, 3] → [B, size, size, 3], never enlarged; labels are shares and stay as they are."""
    if size >= photos.shape[1]:
        return photos
    planes = photos.permute(0, 3, 1, 2)
    return functional.interpolate(planes, (size, size), mode="bilinear", antialias=True).permute(0, 2, 3, 1)


def _optimizer(
    network: ProductNet, recipe: FitConfig, total: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    for part in [network.trunk.stem, *list(network.trunk.blocks)[:FROZEN_BLOCKS]]:
        part.requires_grad_(False)
    trunk = [p for p in network.trunk.parameters() if p.requires_grad]
    head = [p for name, p in network.named_parameters() if not name.startswith("trunk.")]
    groups = [{"params": trunk, "lr": recipe.trunk_rate}, {"params": head, "lr": recipe.head_rate}]
    optimizer = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
    rising = max(1, int(recipe.warmup * total))

    def rate(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, rate)


def _step(network: ProductNet, optimizer: torch.optim.Optimizer, photos: Tensor, labels: Tensor) -> dict[str, Tensor]:
    logits, boxes = network(photos)
    grid = (photos.shape[1] // STRIDE, photos.shape[2] // STRIDE)
    losses = compute_detection_loss(logits, boxes, labels, grid)
    optimizer.zero_grad(set_to_none=True)
    losses["loss"].backward()
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()
    return losses


@torch.no_grad()
def _update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    current = network.state_dict()
    for name, value in average.state_dict().items():
        if value.is_floating_point():
            value.lerp_(current[name], 1.0 - decay)
        else:
            value.copy_(current[name])


def _report(step: int, total: int, losses: dict[str, Tensor], seconds: float) -> None:
    parts = " ".join(f"{name} {value.item():.3f}" for name, value in losses.items())
    log.info(
        "step %d of %d: %s, %.0f s, about %.0f s left", step, total, parts, seconds, seconds / step * (total - step)
    )
