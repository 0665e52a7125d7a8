"""The region of a photo that shows its core product, in shares of the sides, so that a resize does not change it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 as shares of the photo's width and height."""

RegionSource = Literal["detected", "whole_image"]

WHOLE_IMAGE: Box = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Region:
    """The part of one photo that shows its product.

    Attributes:
        box: (x0, y0, x1, y1) as shares of width and height, 0 ≤ x0 < x1 ≤ 1 and 0 ≤ y0 < y1 ≤ 1.
        score: the detector's estimate of how well the box fits (IoU), in [0, 1]; for ``whole_image`` the score of the
            best box, which was not used.
        source: ``detected``, or ``whole_image`` where no box was good enough for a crop.

    Raises:
        ValueError: box, score or source is outside these ranges.
    """

    box: Box
    score: float
    source: RegionSource = "detected"

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.box
        if not (0.0 <= x0 < x1 <= 1.0 and 0.0 <= y0 < y1 <= 1.0):  # also refuses NaN
            raise ValueError(f"a region's box needs 0 ≤ x0 < x1 ≤ 1 and 0 ≤ y0 < y1 ≤ 1, not {self.box}")
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f"a region's score must be in [0, 1], not {self.score}")
        if self.source not in ("detected", "whole_image"):
            raise ValueError(f"a region is 'detected' or 'whole_image', not {self.source!r}")

    @classmethod
    def whole_image(cls, score: float = 0.0) -> "Region":
        """Region of the whole photo, used where no box is good enough for a crop."""
        return cls(WHOLE_IMAGE, score, "whole_image")

    @property
    def is_whole(self) -> bool:
        """Whether there is no box, so that the model gets the photo without a crop."""
        return self.source == "whole_image"


def clip_box(box: Sequence[float]) -> Box:
    """The box cut at the photo's edges; numbers that are not finite become 0, which makes the box degenerate."""
    x0, y0, x1, y1 = (min(max(float(v), 0.0), 1.0) if math.isfinite(v) else 0.0 for v in box)
    return x0, y0, x1, y1


def compute_area(box: Sequence[float]) -> float:
    """Share of the photo that a box covers; 0 when the box is empty or its corners are in the wrong order."""
    x0, y0, x1, y1 = box
    return max(x1 - x0, 0.0) * max(y1 - y0, 0.0)


def is_degenerate(box: Sequence[float], min_side: float, max_area: float) -> bool:
    """Whether a box is not useful as a crop, because it is too thin or covers nearly the whole photo.

    Args:
        box: x0, y0, x1, y1 as shares.
        min_side: share of width or height below which a side is too thin to show a product.
        max_area: share of the photo above which the crop would only repeat the photo.
    """
    x0, y0, x1, y1 = box
    thin = not (x1 - x0 >= min_side and y1 - y0 >= min_side)  # also true for NaN
    return thin or compute_area(box) > max_area


def compute_iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes, in [0, 1]; 0 when both are empty."""
    shared = compute_area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    union = compute_area(a) + compute_area(b) - shared
    return shared / union if union > 0.0 else 0.0
