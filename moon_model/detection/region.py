"""Where the core product is in a photo, in coordinates that survive any resize."""

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
        score: how well the detector expects the box to fit, in [0, 1]; for ``whole_image`` the score of the
            best box it turned down.
        source: ``detected``, or ``whole_image`` when there was no box worth cropping to.

    Raises:
        ValueError: when box, score or source is none of the above.
    """

    box: Box
    score: float
    source: RegionSource = "detected"

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.box
        if not (0.0 <= x0 < x1 <= 1.0 and 0.0 <= y0 < y1 <= 1.0):  # also refuses NaN
            raise ValueError(f"a region's box needs 0 ≤ x0 < x1 ≤ 1 and 0 ≤ y0 < y1 ≤ 1, not {self.box}")
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f"a region's score lies in [0, 1], not {self.score}")
        if self.source not in ("detected", "whole_image"):
            raise ValueError(f"a region is 'detected' or 'whole_image', not {self.source!r}")

    @classmethod
    def whole(cls, score: float = 0.0) -> "Region":
        """The fallback: no crop, because none is trusted."""
        return cls(WHOLE_IMAGE, score, "whole_image")

    @property
    def is_whole(self) -> bool:
        """Whether a crop would only repeat the photo (then it is dropped, not doubled)."""
        return self.source == "whole_image"


def clip_box(box: Sequence[float]) -> Box:
    """Cut a box off at the photo's edges; numbers that are not finite become 0, so the box is degenerate."""
    x0, y0, x1, y1 = (min(max(float(v), 0.0), 1.0) if math.isfinite(v) else 0.0 for v in box)
    return x0, y0, x1, y1


def compute_area(box: Sequence[float]) -> float:
    """Share of the photo that a box covers; 0 when it is empty or inside out."""
    x0, y0, x1, y1 = box
    return max(x1 - x0, 0.0) * max(y1 - y0, 0.0)


def is_degenerate(box: Sequence[float], min_side: float, max_area: float) -> bool:
    """Whether cropping to a box makes no sense: it shows next to nothing, or next to everything.

    Args:
        box: x0, y0, x1, y1 as shares.
        min_side: shares of width or height below which a side is too thin to show a product.
        max_area: share of the photo above which a crop would only repeat it.
    """
    x0, y0, x1, y1 = box
    thin = not (x1 - x0 >= min_side and y1 - y0 >= min_side)  # also true for NaN
    return thin or compute_area(box) > max_area


def compute_iou(a: Sequence[float], b: Sequence[float]) -> float:
    """IoU of two boxes in [0, 1]; 0 when both are empty."""
    left, top, right, bottom = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    shared = compute_area((left, top, right, bottom))
    union = compute_area(a) + compute_area(b) - shared
    return shared / union if union > 0.0 else 0.0
