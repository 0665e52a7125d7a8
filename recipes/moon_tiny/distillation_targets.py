"""The space that the teachers span, and where in it a text, a photo or a product belongs.

The first 384 dimensions are all-MiniLM-L6-v2's, the next ones the principal axes of what EfficientNet-Lite0 and the
colour grid see in photos. A text is anchored at its text vector; a product at both halves side by side, each of length
1: the cosine of two products is then the mean of the teachers' cosines. A photo without words is anchored there too, so
that it learns to guess the words' half. Since the anchors are an isometric copy of the teachers' own vectors, a student
that reaches them has kept the neighbour structure of both, and one example teaches as much in a batch of 8 as of 800.
Ours, not the paper's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from moon_model.backbones.compact import LITE0_FEATURES
from moon_model.training.config import ConfigError

VISUAL_BASIS_FILE = "visual.npz"
COLOUR_WEIGHT = 0.6
"""Of a view's colours beside its EfficientNet features, both of length 1, before principal axes are sought."""


@dataclass(frozen=True)
class VisualBasis:
    """Principal axes of what is seen in photos.

    Attributes:
        mean: of the summaries, float32 [C].
        axes: orthonormal columns, the widest first, float32 [C, V].
    """

    mean: Tensor
    axes: Tensor

    @classmethod
    def fit(cls, summaries: Tensor, dimension: int) -> "VisualBasis":
        """Find the axes of summaries [N, C], N > ``dimension``."""
        mean = summaries.mean(0)
        _, axes = torch.linalg.eigh(torch.cov((summaries - mean).double().T))
        return cls(mean, axes[:, -dimension:].flip(1).float())

    @classmethod
    def read(cls, folder: Path) -> "VisualBasis":
        """Read what `save` wrote into a folder of corpora.

        Raises:
            ConfigError: it is not there.
        """
        try:
            with np.load(folder / VISUAL_BASIS_FILE, allow_pickle=False) as stored:
                return cls(torch.from_numpy(stored["mean"]), torch.from_numpy(stored["axes"]))
        except (OSError, KeyError, ValueError) as error:
            raise ConfigError(
                f"teachers.corpora: {folder} holds no {VISUAL_BASIS_FILE} ({error}); `python -m recipes.weight_import` "
                "finds the axes"
            ) from error

    def save(self, folder: Path) -> None:
        """Write the axes beside the corpora."""
        np.savez(folder / VISUAL_BASIS_FILE, mean=self.mean.numpy(), axes=self.axes.numpy())

    def vectors(self, summaries: Tensor) -> Tensor:
        """Express summaries [N, C] along the axes: float32 [N, V], of length 1."""
        return F.normalize((summaries - self.mean) @ self.axes, dim=-1)


def summarise_grids(grids: Tensor) -> Tensor:
    """Summarise a photo's views, pooled grids [V, 1376, s, s]: mean features and mean colours, float32 [1376]."""
    mean = grids.mean((0, 2, 3))
    colours = mean[LITE0_FEATURES:].clamp(min=0).sqrt()
    return torch.cat([F.normalize(mean[:LITE0_FEATURES], dim=0), COLOUR_WEIGHT * F.normalize(colours, dim=0)])


def build_text_targets(vectors: NDArray[np.float16] | Tensor, dimension: int) -> Tensor:
    """Place text vectors [N, T] in the space: float32 [N, dimension], of length 1."""
    texts = torch.as_tensor(np.asarray(vectors, dtype=np.float32))
    return F.normalize(F.pad(texts, (0, dimension - texts.shape[1])), dim=-1)


def build_product_targets(texts: Tensor, visual: Tensor, dimension: int) -> Tensor:
    """Place products by their text vectors [N, T] and visual vectors [N, V], both of length 1."""
    both = torch.cat([texts, visual], dim=1)
    return F.normalize(F.pad(both, (0, dimension - both.shape[1])), dim=-1)


def compute_distillation_loss(targets: Tensor, embeddings: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """One minus the mean cosine of embeddings and anchors, both [N, D]; 0 where all are reached."""
    cosine = (embeddings * targets.to(embeddings)).sum(-1)
    return 1.0 - cosine.mean(), {"cosine": cosine.mean().detach()}


def check_target_dimensions(dimension: int, parts: Sequence[int]) -> None:
    """Make sure that the halves of an anchor fit into an embedding.

    Raises:
        ConfigError: they do not.
    """
    if sum(parts) > dimension:
        raise ConfigError(
            f"teachers: anchors of {' + '.join(map(str, parts))} dimensions do not fit into embeddings of {dimension}"
        )
