"""Selection of a few separate boxes per photo from one scored box per cell."""

import numpy as np
from numpy.typing import NDArray

from moon_model.detection.region import Box

Candidate = tuple[float, Box]
"""Score in [0, 1] and box inside the photo."""

_MAX_CELLS = 64
"""Number of cells that are considered, best first: about the number in the middle of a product that fills the photo."""


def select_candidates(
    scores: NDArray[np.float32], boxes: NDArray[np.float32], k: int, merge_iou: float
) -> list[Candidate]:
    """Candidates of one photo by non-maximum suppression that averages the suppressed boxes.

    The best cell and all cells whose boxes overlap it (IoU ≥ ``merge_iou``) become one candidate: the mean of their
    boxes, weighted by the squared score. Errors of cells are independent, so the mean is better than the best box.

    Args:
        scores: expected IoU of each cell, [cells], in [0, 1].
        boxes: [cells, 4], x0 y0 x1 y1 as shares of the photo; may reach outside it.
        k: maximum number of candidates.
        merge_iou: IoU from which a box belongs to the same candidate.

    Returns:
        At most ``k`` candidates, best first; ties by cell order.
    """
    # Keep the best cells, in order of their scores, and cut their boxes at the photo's edges.
    order = np.argsort(-scores, kind="stable")[:_MAX_CELLS]
    scores_left = scores[order].astype(np.float64)
    boxes_left = np.clip(boxes[order].astype(np.float64), 0.0, 1.0)
    found: list[Candidate] = []
    while scores_left.size and len(found) < k:
        # Cells with the same product as the best remaining one (always including itself, also if its box is empty).
        same = compute_ious(boxes_left[0], boxes_left) >= merge_iou
        same[0] = True
        # Their weighted mean is the candidate; with all scores 0 it is the first box.
        weights = scores_left[same] ** 2
        total = weights.sum()
        box = (weights[:, None] * boxes_left[same]).sum(0) / total if total > 0 else boxes_left[0]
        x0, y0, x1, y1 = box.tolist()
        found.append((float(scores_left[0]), (x0, y0, x1, y1)))
        scores_left = scores_left[~same]
        boxes_left = boxes_left[~same]
    return found


def compute_ious(box: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU of one box [4] with each of N boxes [N, 4]: float64 [N]; 0 where the union is empty."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.clip(sides, 0.0, None).prod(axis=1)
    areas = np.clip(boxes[:, 2:] - boxes[:, :2], 0.0, None).prod(axis=1)
    union = areas + np.clip(box[2:] - box[:2], 0.0, None).prod() - shared
    ious: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ious
