"""A projector by ridge regressions, so that a photo lands near its anchor before any training."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from moon_model.evaluation.minilm import MINILM_DIMENSION
from moon_model.modeling_moon import MoonModel
from moon_model.processing_moon import PreparedProduct
from moon_model.training.examples import Examples
from moon_model.training.feature_cache import FeatureCache
from recipes.moon_tiny.distillation_targets import VisualBasis, build_product_targets, summarise_grids
from recipes.moon_tiny.teachers import CaptionedPhoto
from recipes.weight_import.decoder import get_compact_backbone

_RIDGE = 0.01
_RIDGE_LINEAR = 1e-4
"""The linear map has all to learn of an (almost) linear truth, and must not forget what few photos show."""
_BATCH = 64
FIT_CELLS = 100_000
"""Cells from which the first layer's axes are found."""


@dataclass(frozen=True)
class PhotoFeatures:
    """Photos after the vision tower.

    Attributes:
        cells: pooled grid of each photo's original view, float16 [N, tokens_per_view, 1376].
        summaries: of all its views (``anchors.summary``), float32 [N, 1376].
        text_vectors: mean text vector of what is said of it, of length 1, float32 [N, 384].
    """

    cells: Tensor
    summaries: Tensor
    text_vectors: Tensor

    def compute_targets(self, basis: VisualBasis, dimension: int) -> Tensor:
        """Anchors of the photos, float32 [N, dimension]."""
        return build_product_targets(self.text_vectors, basis.vectors(self.summaries), dimension)


@torch.inference_mode()
def extract_photo_features(photos: Sequence[CaptionedPhoto], examples: Examples, cache: FeatureCache) -> PhotoFeatures:
    """Run the vision tower over photos; what the cache holds is not computed again."""
    cells, summaries = [], []
    for batch in tqdm(_prepared(photos, examples), desc="vision tower", unit="batch", total=-(-len(photos) // _BATCH)):
        for one in batch:
            grids = cache.features(one.views)
            cells.append(grids[0].flatten(1).T.half())
            summaries.append(summarise_grids(grids))
    words = [torch.from_numpy(photo.vectors).float().mean(0) for photo in photos]
    return PhotoFeatures(torch.stack(cells), torch.stack(summaries), F.normalize(torch.stack(words), dim=-1))


def _prepared(photos: Sequence[CaptionedPhoto], examples: Examples) -> Iterator[list[PreparedProduct]]:
    """Yield photos ready for the tower, the next batch being decoded meanwhile."""
    batches = [[photo.item for photo in photos[at : at + _BATCH]] for at in range(0, len(photos), _BATCH)]
    waiting: deque[Future[list[PreparedProduct]]] = deque()
    with ThreadPoolExecutor(1) as ahead:
        for batch in batches:
            waiting.append(ahead.submit(examples.prepare, batch))
            if len(waiting) > 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@torch.no_grad()
def fit_projector(model: MoonModel, cells: Tensor, targets: Tensor) -> float:
    """Set the projector so that the mean of a photo's visual tokens is near its target.

    The linear map is the ridge regression from mean cells to the targets' visual half. The MLP's first layer whitens
    the cells' principal axes; its second is the ridge regression from the (averaged) activations to what is left.

    Args:
        model: compact.
        cells: [N, tokens_per_view, 1376].
        targets: [N, D]: words first, what is seen behind them (``anchors.py``).

    Returns:
        Share of the targets' variance that is explained on these photos.
    """
    projector = get_compact_backbone(model).projector
    flat = cells.flatten(0, 1)
    flat = flat[torch.linspace(0, len(flat) - 1, min(len(flat), FIT_CELLS)).long()].double()
    mean = flat.mean(0)
    spread, axes = torch.linalg.eigh(torch.cov(flat.T))
    width = projector.fc1.weight.shape[0]
    first = (axes[:, -width:] / spread[-width:].clamp(min=1e-6).sqrt()).T
    projector.fc1.weight.copy_(first)
    projector.fc1.bias.copy_(-first @ mean)
    seen = cells.float().mean(1).double()
    hidden = torch.cat([F.gelu(projector.fc1(part.float())).mean(1) for part in cells.split(256)]).double()
    visual = targets.double().clone()
    visual[:, :MINILM_DIMENSION] = 0
    linear = _ridge(seen, visual, _RIDGE_LINEAR)
    left = targets.double() - seen @ linear.T
    second = _ridge(hidden, left, _RIDGE)
    projector.linear.weight.copy_(linear)
    projector.fc2.weight.copy_(second)
    bias = left.mean(0) - second @ hidden.mean(0)
    projector.fc2.bias.copy_(bias)
    missed = left - hidden @ second.T - bias
    return 1.0 - float(missed.square().sum() / (targets - targets.mean(0)).double().square().sum())


def _ridge(inputs: Tensor, targets: Tensor, ridge: float) -> Tensor:
    """Regress centred targets [N, D] on centred inputs [N, C]: weights [D, C]."""
    design, wanted = inputs - inputs.mean(0), targets - targets.mean(0)
    gram = design.T @ design
    gram.diagonal().add_(ridge * gram.diagonal().mean())
    solution: Tensor = torch.linalg.solve(gram, design.T @ wanted)
    return solution.T
