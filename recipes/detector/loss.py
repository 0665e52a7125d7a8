"""The loss of the detector. Targets of a cell: the product's box, and as score the dominance × the IoU of its own box.

Shapes: B photos, K label rows, cells = height · width of the grid.
"""

import torch
from torch import Tensor
from torch.nn import functional

from recipes.detector.network import compute_cell_centres

MIDDLE = 0.35
"""A cell belongs to a product if its centre is within this share of the box's half sides around the box's centre."""

BOX_WEIGHT = 2.0


def assign_cells(labels: Tensor, height: int, width: int) -> Tensor:
    """Return the target product of each cell of a grid.

    Args:
        labels: [B, K, 5], x0 y0 x1 y1 dominance; rows of dominance 0 are empty.
        height: height of the grid in cells.
        width: width of the grid in cells.

    Returns:
        Index of a label row for each cell, [B, cells]; -1 for background. Where the middles of products overlap, the
        more dominant product is chosen, then the smaller one. One smaller than a cell gets the cell of its centre.
    """
    centres = compute_cell_centres(height, width, labels.device)  # [cells, 2]
    middle = (labels[..., :2] + labels[..., 2:4]) / 2
    half = (labels[..., 2:4] - labels[..., :2]) / 2
    reach = torch.maximum(half * MIDDLE, torch.tensor([0.5 / width, 0.5 / height], device=labels.device))
    offset = (centres[None, :, None] - middle[:, None]).abs()  # [B, cells, K, 2]
    dominance = labels[:, None, :, 4]
    inside = (offset <= reach[:, None]).all(-1) & (dominance > 0)
    preference = torch.where(inside, dominance - 0.1 * half.prod(-1)[:, None], -1.0)
    best, owner = preference.max(dim=2)
    return torch.where(best >= 0, owner, -1)


def compute_detection_loss(logits: Tensor, boxes: Tensor, labels: Tensor, grid: tuple[int, int]) -> dict[str, Tensor]:
    """Return quality focal loss of the scores plus GIoU and L1 loss of the boxes.

    Args:
        logits: [B, cells].
        boxes: [B, cells, 4] as shares of the photo's sides, not clipped.
        labels: [B, K, 5], see ``assign_cells``.
        grid: height and width of the grid in cells.

    Returns:
        Scalars: ``loss``, and its detached parts ``score`` and ``box``.
    """
    # 1. The label of each cell that has a product.
    owner = assign_cells(labels, *grid)
    owned = owner >= 0
    truth = labels.gather(1, owner.clamp(min=0)[..., None].expand(-1, -1, 5))  # [B, cells, 5]
    # 2. The target of a score is the quality of the cell's own box; cells without a product have 0.
    overlap, generalised = compute_paired_iou(boxes[owned], truth[owned][:, :4])
    quality = torch.zeros_like(logits)
    quality[owned] = (overlap.detach() * truth[owned][:, 4]).clamp(0, 1)
    certainty = (logits.sigmoid() - quality).detach().abs().square()
    focal = functional.binary_cross_entropy_with_logits(logits, quality, reduction="none") * certainty
    # 3. Each photo has the same weight, whether its product has two cells or sixty.
    per_photo = 1.0 / owned.sum(1, keepdim=True).clamp(min=1)
    score = (focal * per_photo).sum() / len(labels)
    weight = (per_photo.expand_as(logits)[owned] * truth[owned][:, 4]) / len(labels)
    side = (boxes[owned] - truth[owned][:, :4]).abs().mean(-1)
    box = (weight * ((1 - generalised) + side)).sum()
    return {"loss": score + BOX_WEIGHT * box, "score": score.detach(), "box": box.detach()}


def compute_paired_iou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return IoU [N] and generalised IoU [N] (arXiv 1902.09630) of the boxes [N, 4] in the same rows."""

    def area(box: Tensor) -> Tensor:
        return (box[:, 2:] - box[:, :2]).clamp(min=0).prod(-1)

    shared = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(-1)
    union = (area(a) + area(b) - shared).clamp(min=1e-9)
    hull = torch.cat([torch.minimum(a[:, :2], b[:, :2]), torch.maximum(a[:, 2:], b[:, 2:])], -1)
    around = area(hull).clamp(min=1e-9)
    overlap = shared / union
    return overlap, overlap - (around - union) / around
