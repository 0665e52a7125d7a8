"""Sketches: the parts and strokes of a shape in drawing order, before they are painted."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from demo_shop.geometry import Outline, Point


@dataclass(frozen=True)
class SketchPart:
    """A filled outline.

    Attributes:
        outline: points [N, 2] in sketch units.
        paint: key of the palette; "main" has colour and pattern of the product.
        form: shape for shading: "puff" (swollen), "turned" (upright cylinder), "ball", "sheet" (almost flat), "flat".
        height: strength of the relief, 0..1.
        gloss: factor on the material's gloss.
    """

    outline: Outline
    paint: str = "main"
    form: str = "puff"
    height: float = 0.6
    gloss: float = 1.0


@dataclass(frozen=True)
class Stroke:
    """A line of the given width.

    Attributes:
        points: points [N, 2] in sketch units.
        width: width in sketch units.
        shade: for a seam: a value below 0 darkens the surface behind it, a value above 0 lightens it.
        paint: key of the palette for a cord in a colour of its own; None: a seam.
    """

    points: Outline
    width: float
    shade: float = -0.35
    paint: str | None = None


@dataclass
class Sketch:
    """Parts and strokes in drawing order, and the random measures of one product.

    Attributes:
        rng: decides the measures and styles; the same state gives the same shape.
        items: the parts and strokes, from back to front.
    """

    rng: np.random.Generator
    items: list[SketchPart | Stroke] = field(default_factory=list)

    def draw_measure(self, low: float, high: float) -> float:
        """Return a random measure between low and high."""
        return float(self.rng.uniform(low, high))

    def draw_measures(self, *ranges: tuple[float, float]) -> list[float]:
        """Return a random measure for each range (low, high)."""
        return [self.draw_measure(low, high) for low, high in ranges]

    def choose(self, *options: str) -> str:
        """Return one of the options at random."""
        return options[int(self.rng.integers(len(options)))]

    def draw_bool(self, share: float) -> bool:
        """Return True with a probability of ``share``."""
        return bool(self.rng.random() < share)

    def add_part(
        self, outline: Outline, paint: str = "main", form: str = "puff", height: float = 0.6, gloss: float = 1.0
    ) -> None:
        """Add a filled outline in front of all others; see `SketchPart`."""
        self.items.append(SketchPart(outline, paint, form, height, gloss))

    def add_stroke(
        self, points: Sequence[Point] | Outline, width: float = 0.02, shade: float = -0.35, paint: str | None = None
    ) -> None:
        """Add a line in front of all others; see `Stroke`."""
        self.items.append(Stroke(np.asarray(points, dtype=np.float64), width, shade, paint))

    def compute_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the lowest and the highest coordinates, each [2], of all parts and strokes."""
        points = np.vstack([i.outline if isinstance(i, SketchPart) else i.points for i in self.items])
        return points.min(axis=0), points.max(axis=0)
