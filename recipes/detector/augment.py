"""Random augmentation of rendered samples: mirroring, colour and brightness."""

import torch
from torch import Tensor


def augment_batch(photos: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return an augmented batch: photos as float in 0–255, and labels, of the same shapes.

    Args:
        photos: uint8 [B, S, S, 3].
        labels: [B, K, 5], x0 y0 x1 y1 dominance.
        generator: random generator.
    """
    count = len(photos)
    varied = photos.float()
    moved = labels.clone()
    mirrored = torch.rand(count, generator=generator) < 0.5
    varied[mirrored] = varied[mirrored].flip(2)
    moved[mirrored] = torch.where(moved[mirrored][..., 4:] > 0, mirror_labels(moved[mirrored]), moved[mirrored])
    gain = torch.empty(count, 1, 1, 3).uniform_(0.88, 1.12, generator=generator)
    gain = gain * torch.empty(count, 1, 1, 1).uniform_(0.75, 1.25, generator=generator)
    shift = torch.empty(count, 1, 1, 1).uniform_(-18, 18, generator=generator)
    grey = (torch.rand(count, 1, 1, 1, generator=generator) < 0.1).float()
    varied = varied * (1 - grey) + varied.mean(3, keepdim=True) * grey
    return (varied * gain + shift).clamp(0, 255), moved


def mirror_labels(labels: Tensor) -> Tensor:
    """Return labels [..., 5] for horizontally mirrored photos."""
    x0, y0, x1, y1, dominance = labels.unbind(-1)
    return torch.stack([1 - x1, y0, 1 - x0, y1, dominance], -1)
