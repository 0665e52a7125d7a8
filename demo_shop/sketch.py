"""What a shape is made of, before it is painted: parts with outlines, and thin strokes, back to front."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from demo_shop.geometry import Outline, Point


@dataclass(frozen=True)
class SketchPart:
    """A filled outline.

    Attributes:
        outline: Points [N, 2] in the sketch's free units.
        paint: A key of the palette; "main" carries colour and pattern of the product.
        form: How light falls: "puff" (swollen), "turned" (upright cylinder), "sheet" (almost flat), "flat".
        height: How strongly the form shows, 0..1.
        gloss: Factor on the material's gloss.
    """

    outline: Outline
    paint: str = "main"
    form: str = "puff"
    height: float = 0.6
    gloss: float = 1.0


@dataclass(frozen=True)
class Stroke:
    """A line such as a seam; `width` in sketch units, `shade` < 0 darkens and > 0 lightens what it crosses."""

    points: Outline
    width: float
    shade: float = -0.35
    paint: str | None = None


@dataclass
class Sketch:
    """Collects parts and strokes in drawing order; `draw_measure` gives each product its own measures."""

    rng: np.random.Generator
    items: list[SketchPart | Stroke] = field(default_factory=list)

    def draw_measure(self, low: float, high: float) -> float:
        """Return a measure of this product between low and high."""
        return float(self.rng.uniform(low, high))

    def choose(self, *options: str) -> str:
        """Return one of the styles."""
        return options[int(self.rng.integers(len(options)))]

    def draw_bool(self, share: float) -> bool:
        """Return True for that share of the products."""
        return bool(self.rng.random() < share)

    def part(
        self, outline: Outline, paint: str = "main", form: str = "puff", height: float = 0.6, gloss: float = 1.0
    ) -> None:
        """Add a filled outline in front of everything so far; see `SketchPart`."""
        self.items.append(SketchPart(outline, paint, form, height, gloss))

    def line(
        self,
        points: Sequence[Point] | Outline,
        width: float = 0.02,
        shade: float = -0.35,
        paint: str | None = None,
    ) -> None:
        """Add a stroke: a seam (shade) or, with `paint`, a cord of that paint."""
        self.items.append(Stroke(np.asarray(points, dtype=np.float64), width, shade, paint))

    def compute_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (lowest, highest) coordinates [2] of all parts."""
        points = np.vstack([i.outline if isinstance(i, SketchPart) else i.points for i in self.items])
        return points.min(axis=0), points.max(axis=0)
