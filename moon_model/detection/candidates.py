"""From one scored box per cell to a few separate boxes per photo."""

import numpy as np
from numpy.typing import NDArray

from moon_model.detection.region import Box

Candidate = tuple[float, Box]
"""Score and box."""

_CELLS = 64
"""Only the best cells are looked at: a product that fills the photo owns about this many."""


def select_candidates(
    scores: NDArray[np.float32], boxes: NDArray[np.float32], k: int, merge_iou: float
) -> list[Candidate]:
    """Greedy non-maximum suppression in which the suppressed boxes vote.

    The best cell and all cells whose boxes agree with it (IoU ≥ ``merge_iou``) become one candidate: their
    mean, weighted by score. Cells err independently, so the mean sits closer than the best one alone.

    Args:
        scores: expected IoU of each cell, [cells], in [0, 1].
        boxes: [cells, 4], x0 y0 x1 y1 as shares of the photo; may stick out of it.
        k: most candidates wanted.
        merge_iou: see above.

    Returns:
        (score, box inside the photo) of at most ``k`` candidates, best first; ties by cell order.
    """
    order = np.argsort(-scores, kind="stable")[:_CELLS]
    left, inside = scores[order].astype(np.float64), np.clip(boxes[order].astype(np.float64), 0.0, 1.0)
    found: list[Candidate] = []
    while left.size and len(found) < k:
        same = compute_ious(inside[0], inside) >= merge_iou
        same[0] = True
        weights = left[same] ** 2
        total = weights.sum()
        box = (weights[:, None] * inside[same]).sum(0) / total if total > 0 else inside[0]
        x0, y0, x1, y1 = box.tolist()
        found.append((float(left[0]), (x0, y0, x1, y1)))
        left, inside = left[~same], inside[~same]
    return found


def compute_ious(box: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU of one box [4] with many [N, 4] → [N]; 0 where the union is empty."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.clip(sides, 0.0, None).prod(axis=1)
    areas = np.clip(boxes[:, 2:] - boxes[:, :2], 0.0, None).prod(axis=1)
    union = areas + np.clip(box[2:] - box[:2], 0.0, None).prod() - shared
    ious: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ious
