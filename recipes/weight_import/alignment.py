"""Start values of the projector, from ridge regressions that map photos near their targets before training.

Shape suffixes: N photos, S cells of a pooled grid, F = 1376 features of a cell, D dimensions of an embedding,
H hidden units of the projector's MLP.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from jobs.stages.task_io import prefetch_map
from moon_model.evaluation.minilm import MINILM_DIMENSION
from moon_model.modeling_moon import MoonModel
from moon_model.training.examples import Examples
from moon_model.training.feature_cache import FeatureCache
from recipes.moon_tiny.distillation_targets import VisualBasis, build_product_targets, summarise_grids
from recipes.moon_tiny.teachers import CaptionedPhoto
from recipes.weight_import.decoder import get_compact_backbone, solve_ridge

FIT_CELLS = 100_000
"""Number of cells from which the axes of the MLP's first layer are computed."""
_RIDGE = 0.01
_LINEAR_RIDGE = 1e-4  # small, because the relation is almost linear and features of few photos must be kept
_BATCH = 64


@dataclass(frozen=True)
class PhotoFeatures:
    """Features of photos from the frozen vision tower.

    Attributes:
        cells: pooled grid of each photo's original view, float16 [N, S, F].
        summaries: summary of all views of each photo (``summarise_grids``), float32 [N, F].
        text_vectors: mean text vector of each photo's captions, of length 1, float32 [N, 384].
    """

    cells: Tensor
    summaries: Tensor
    text_vectors: Tensor

    def compute_targets(self, basis: VisualBasis, dimension: int) -> Tensor:
        """Return the distillation targets of the photos, float32 [N, D]."""
        return build_product_targets(self.text_vectors, basis.project(self.summaries), dimension)


@torch.inference_mode()
def extract_photo_features(photos: Sequence[CaptionedPhoto], examples: Examples, cache: FeatureCache) -> PhotoFeatures:
    """Return the features of photos; only what is not in the cache is computed."""
    cells = []
    summaries = []
    batches = [[photo.item for photo in photos[start : start + _BATCH]] for start in range(0, len(photos), _BATCH)]
    prepared_batches = prefetch_map(batches, examples.prepare, threads=1, window=2)
    for batch in tqdm(prepared_batches, desc="vision tower", unit="batch", total=len(batches)):
        for prepared in batch:
            grids = cache.get_features(prepared.views)
            cells.append(grids[0].flatten(1).T.half())
            summaries.append(summarise_grids(grids))
    text_vectors = [torch.from_numpy(photo.caption_vectors).float().mean(0) for photo in photos]
    return PhotoFeatures(torch.stack(cells), torch.stack(summaries), F.normalize(torch.stack(text_vectors), dim=-1))


@torch.no_grad()
def fit_projector(model: MoonModel, cells: Tensor, targets: Tensor) -> float:
    """Set the projector so that the mean of a photo's visual tokens is near its target.

    Args:
        model: compact model.
        cells: [N, S, F].
        targets: [N, D], the text half first, then the visual half (``distillation_targets.py``).

    Returns:
        Share of the targets' variance that is explained on these photos.
    """
    projector = get_compact_backbone(model).projector
    targets_nd = targets.double()
    # 1. The MLP's first layer whitens the cells along their principal axes.
    flat = cells.flatten(0, 1)
    sample = flat[torch.linspace(0, len(flat) - 1, min(len(flat), FIT_CELLS)).long()].double()
    variances, axes = torch.linalg.eigh(torch.cov(sample.T))
    width = projector.fc1.weight.shape[0]
    first_hf = (axes[:, -width:] / variances[-width:].clamp(min=1e-6).sqrt()).T
    projector.fc1.weight.copy_(first_hf)
    projector.fc1.bias.copy_(-first_hf @ sample.mean(0))
    # 2. The linear map: from mean cells to the visual half of the targets.
    mean_cells_nf = cells.float().mean(1).double()
    visual_nd = targets_nd.clone()
    visual_nd[:, :MINILM_DIMENSION] = 0
    linear_df = _solve_centred_ridge(mean_cells_nf, visual_nd, _LINEAR_RIDGE)
    projector.linear.weight.copy_(linear_df)
    # 3. The MLP's second layer: from the mean activations to the rest of the targets.
    hidden_nh = torch.cat([F.gelu(projector.fc1(part.float())).mean(1) for part in cells.split(256)]).double()
    rest_nd = targets_nd - mean_cells_nf @ linear_df.T
    second_dh = _solve_centred_ridge(hidden_nh, rest_nd, _RIDGE)
    projector.fc2.weight.copy_(second_dh)
    bias_d = rest_nd.mean(0) - second_dh @ hidden_nh.mean(0)
    projector.fc2.bias.copy_(bias_d)
    residual_nd = rest_nd - hidden_nh @ second_dh.T - bias_d
    return 1.0 - float(residual_nd.square().sum() / (targets_nd - targets_nd.mean(0)).square().sum())


def _solve_centred_ridge(inputs: Tensor, targets: Tensor, ridge: float) -> Tensor:
    return solve_ridge(inputs - inputs.mean(0), targets - targets.mean(0), ridge)
