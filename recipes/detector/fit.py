"""The training loop of the detector; it returns the moving average of the weights."""

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
"""Number of steps between two checkpoints and lines of progress."""


@dataclass(frozen=True)
class FitConfig:
    """Settings of the training.

    Attributes:
        epochs: number of epochs.
        coarse_epochs: number of first epochs, in which photos are scaled down to ``coarse_size``. They take less than
            half the time of the others and give most of the quality.
        coarse_size: side of the input in pixels in these epochs, a multiple of 32.
        batch_size: samples per step.
        head_rate: peak learning rate of neck and head, which have random start values.
        trunk_rate: peak learning rate of the pretrained trunk without its frozen blocks.
        weight_decay: weight decay of AdamW.
        warmup: linear warm-up as a share of all steps; a cosine decay follows.
        averaging: decay per step of the moving average of the weights.
        seed: seed of the order of samples and of the augmentation.

    Raises:
        ValueError: a value is out of range.
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
    """Samples of one or more folders that ``render_samples`` wrote; photos are memory-mapped."""

    photos: tuple[NDArray[np.uint8], ...]
    labels: tuple[NDArray[np.float32], ...]

    @classmethod
    def open(cls, folders: Sequence[Path]) -> "RenderedSet":
        """Return the samples of the folders.

        Raises:
            FileNotFoundError: a folder has no rendered samples.
        """
        photos = tuple(np.load(folder / "photos.npy", mmap_mode="r") for folder in folders)
        return cls(photos, tuple(np.load(folder / "labels.npy") for folder in folders))

    def __len__(self) -> int:
        return sum(len(part) for part in self.labels)

    def iter_batches(self, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield photos uint8 [size, S, S, 3] and labels [size, K, 5] in random order; the last batch is complete."""
        places = [(part, row) for part, rows in enumerate(self.labels) for row in range(len(rows))]
        order = np.random.default_rng(seed).permutation(len(places))
        for start in range(0, len(order) - size + 1, size):
            chosen = [places[index] for index in order[start : start + size]]
            photos = np.stack([self.photos[part][row] for part, row in chosen])
            labels = np.stack([self.labels[part][row] for part, row in chosen])
            yield torch.from_numpy(photos), torch.from_numpy(labels)


def fit_network(network: ProductNet, data: RenderedSet, config: FitConfig, checkpoint: Path) -> ProductNet:
    """Train a network and return a copy with the moving average of its weights.

    Args:
        network: trained in place.
        data: rendered samples, all of one size.
        config: see ``FitConfig``.
        checkpoint: file into which the averaged weights are written every ``REPORT_EVERY`` steps and at the end.

    Raises:
        ValueError: the data has less than one batch.
    """
    steps_per_epoch = len(data) // config.batch_size
    if steps_per_epoch == 0:
        raise ValueError(f"{len(data)} samples are less than one batch of {config.batch_size}; render more")
    total = steps_per_epoch * config.epochs
    optimizer, schedule = _build_optimizer(network, config, total)
    average = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(config.seed)
    step = 0
    started = monotonic()
    for epoch in range(config.epochs):
        network.train()
        size = config.coarse_size if epoch < config.coarse_epochs else None
        for rendered, labels in data.iter_batches(config.batch_size, config.seed + epoch):
            photos, augmented = augment_batch(rendered, labels, generator)
            losses = _train_step(network, optimizer, shrink_photos(photos, size) if size else photos, augmented)
            schedule.step()
            step += 1
            _update_average(average, network, min(config.averaging, step / (step + 10)))
            if step % REPORT_EVERY == 0 or step == total:
                _report(step, total, losses, monotonic() - started)
                torch.save({"network": average.state_dict()}, checkpoint)
    return average


def shrink_photos(photos: Tensor, size: int) -> Tensor:
    """Return float photos [B, S, S, 3] scaled down to [B, size, size, 3]; smaller ones are returned as they are."""
    if size >= photos.shape[1]:
        return photos
    planes = photos.permute(0, 3, 1, 2)
    return functional.interpolate(planes, (size, size), mode="bilinear", antialias=True).permute(0, 2, 3, 1)


def _build_optimizer(
    network: ProductNet, config: FitConfig, total: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    for part in [network.trunk.stem, *list(network.trunk.blocks)[:FROZEN_BLOCKS]]:
        part.requires_grad_(False)
    trunk = [one for one in network.trunk.parameters() if one.requires_grad]
    head = [one for name, one in network.named_parameters() if not name.startswith("trunk.")]
    groups = [{"params": trunk, "lr": config.trunk_rate}, {"params": head, "lr": config.head_rate}]
    optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
    warmup = max(1, int(config.warmup * total))

    def compute_factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, compute_factor)


def _train_step(
    network: ProductNet, optimizer: torch.optim.Optimizer, photos: Tensor, labels: Tensor
) -> dict[str, Tensor]:
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
    left = seconds / step * (total - step)
    log.info("step %d of %d: %s, %.0f s, about %.0f s left", step, total, parts, seconds, left)
