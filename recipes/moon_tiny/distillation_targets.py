"""Computes target vectors for distillation: the joint space of both teachers, and texts and photos in it.

The first 384 dimensions of the space are all-MiniLM-L6-v2's, the next ones are principal axes of EfficientNet-Lite0's
features and colours. The target of a text is its text vector. The target of a product is its text vector concatenated
with its visual vector, each of length 1, so that the cosine of two products is the mean of the teachers' cosines. A
photo without text has the same target, so that the model learns to predict the text half. The targets preserve all
distances of the teachers: a model that reaches them has the teachers' neighbours. The target of an example does not
depend on the size of the batch. The method is ours, not the paper's (docs/decisions/0025-distillation-targets.md).

Shape suffixes: N rows, T text dimensions, C summary dimensions, V visual dimensions, D dimensions of an embedding.
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
"""Weight of a photo's colours against its EfficientNet features, both of length 1, in its summary."""


@dataclass(frozen=True)
class VisualBasis:
    """Principal axes of photo summaries.

    Attributes:
        mean: mean of the summaries, float32 [C].
        axes: orthonormal columns by decreasing variance, float32 [C, V].
    """

    mean: Tensor
    axes: Tensor

    @classmethod
    def fit(cls, summaries: Tensor, dimension: int) -> "VisualBasis":
        """Return the first ``dimension`` principal axes of summaries [N, C], N > ``dimension``."""
        mean = summaries.mean(0)
        _, axes = torch.linalg.eigh(torch.cov((summaries - mean).double().T))
        return cls(mean, axes[:, -dimension:].flip(1).float())

    @classmethod
    def read(cls, folder: Path) -> "VisualBasis":
        """Return the basis that `save` wrote into a folder of corpora.

        Raises:
            ConfigError: the file is missing or damaged.
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
        """Write the basis into a folder of corpora."""
        np.savez(folder / VISUAL_BASIS_FILE, mean=self.mean.numpy(), axes=self.axes.numpy())

    def project(self, summaries: Tensor) -> Tensor:
        """Return the visual vectors of summaries [N, C]: float32 [N, V], of length 1."""
        return F.normalize((summaries - self.mean) @ self.axes, dim=-1)


def summarise_grids(grids: Tensor) -> Tensor:
    """Return the summary of a photo: mean features and mean colours of its views, float32 [C = 1376].

    Args:
        grids: pooled grids of the photo's views, [views, C, S, S].
    """
    mean = grids.mean((0, 2, 3))
    colours = mean[LITE0_FEATURES:].clamp(min=0).sqrt()
    return torch.cat([F.normalize(mean[:LITE0_FEATURES], dim=0), COLOUR_WEIGHT * F.normalize(colours, dim=0)])


def build_text_targets(text_vectors: NDArray[np.float16] | Tensor, dimension: int) -> Tensor:
    """Return the targets of texts with vectors [N, T]: float32 [N, D], of length 1."""
    vectors_nt = torch.as_tensor(np.asarray(text_vectors, dtype=np.float32))
    return F.normalize(F.pad(vectors_nt, (0, dimension - vectors_nt.shape[1])), dim=-1)


def build_product_targets(text_vectors: Tensor, visual_vectors: Tensor, dimension: int) -> Tensor:
    """Return the targets of products with vectors [N, T] and [N, V], both of length 1: float32 [N, D], of length 1."""
    joined = torch.cat([text_vectors, visual_vectors], dim=1)
    return F.normalize(F.pad(joined, (0, dimension - joined.shape[1])), dim=-1)


def compute_distillation_loss(targets: Tensor, embeddings: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return one minus the mean cosine of embeddings and targets, both [N, D], and that cosine for the log."""
    cosine = (embeddings * targets.to(embeddings)).sum(-1).mean()
    return 1.0 - cosine, {"cosine": cosine.detach()}


def check_target_dimensions(dimension: int, parts: Sequence[int]) -> None:
    """Check that the parts of a target fit into an embedding.

    Raises:
        ConfigError: they have more dimensions than the embedding.
    """
    if sum(parts) > dimension:
        raise ConfigError(
            f"teachers: targets of {' + '.join(map(str, parts))} dimensions do not fit into embeddings of {dimension}"
        )
