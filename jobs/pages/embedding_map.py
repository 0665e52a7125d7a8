"""Draws a map of the served products: the two main directions of the sample's vectors (PCA), coloured by top category.

Near points are not always near products: two directions show a part of what the vectors hold, and the page says how
much. The axes of a model stay from run to run, so that a product that has not changed stays at its place.
"""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from jobs.pages.neighbours import ServedSample
from jobs.pages.page import render_fragment
from jobs.pages.plots import render_svg
from jobs.pages.run_record import MapAxes, RunRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MIN_PRODUCTS = 10
MAX_TITLE = 80
SIZE = (640, 460)

STYLES = (
    ("#0072b2", "o"), ("#d55e00", "s"), ("#009e73", "^"), ("#e69f00", "D"), ("#cc79a7", "v"), ("#56b4e9", "P"),
)  # fmt: skip
"""Colours of Okabe and Ito, which colour-blind readers can tell apart, each with a marker of its own."""

OTHERS_STYLE = ("#8c8c8c", ".")
OTHERS = "other categories"


@dataclass(frozen=True)
class MapCategory:
    """Products of the map that are drawn alike.

    Attributes:
        name: top category, or `OTHERS`.
        rows: their rows in the sample.
        colour, marker: how they are drawn (matplotlib's codes).
    """

    name: str
    rows: list[int]
    colour: str
    marker: str


def find_axes(sample: ServedSample, before: RunRecord | None, model_version: str) -> MapAxes | None:
    """Return the axes of the map: those of the run before, if they fit; None for too few products.

    Axes of another model, or of less than half as many products, do not fit.
    """
    count = len(sample.ids)
    if count < MIN_PRODUCTS:
        return None
    if before and before.axes and before.model_version == model_version and 2 * before.axes.products >= count:
        return before.axes
    from sklearn.decomposition import PCA  # noqa: PLC0415  (a second to import)

    found = PCA(n_components=2, random_state=0).fit(sample.vectors)
    return MapAxes(count, found.mean_.round(5).tolist(), found.components_.round(5).tolist())


def draw_embedding_map(sample: ServedSample, axes: MapAxes | None) -> Markup:
    """Return the map with its legend; a sentence where there are too few products."""
    if axes is None:
        return render_fragment("_map.html.j2", plot=None, categories=[], sampled=len(sample.ids), share=0.0)
    places, share = _project(sample.vectors, axes)
    categories = group_by_category(sample)

    def draw(figure: "Figure") -> None:
        figure.set_layout_engine("none")
        plot = figure.add_axes((0, 0, 1, 1))
        plot.set_axis_off()
        for number, one in enumerate(categories):
            x, y = places[one.rows].T
            plot.scatter(x, y, s=18, marker=one.marker, color=one.colour, linewidths=0, alpha=0.85, gid=f"c{number}")

    hover = {f"c{number}": [_name(sample, row) for row in one.rows] for number, one in enumerate(categories)}
    title = f"Map of {len(sample.ids):,} products, coloured by {len(categories)} groups of categories"
    plot = render_svg(draw, name="map", title=title, size=SIZE, hover=hover)
    return render_fragment("_map.html.j2", plot=plot, categories=categories, sampled=len(sample.ids), share=share)


def group_by_category(sample: ServedSample) -> list[MapCategory]:
    """Return the rows of the largest categories, each with a style of its own, and those of all others together."""
    names = sample.categories
    sizes = sorted(Counter(name for name in names if name).items(), key=lambda one: (-one[1], one[0]))
    largest = [name for name, _ in sizes[: len(STYLES)]]
    styles = {name: STYLES[place] for place, name in enumerate(sorted(largest))}
    groups = [(name, [row for row, own in enumerate(names) if own == name], *styles[name]) for name in largest]
    others = [row for row, own in enumerate(names) if own not in styles]
    return [MapCategory(*group) for group in [(OTHERS, others, *OTHERS_STYLE), *groups] if group[1]]


def _project(vectors: NDArray[np.float32], axes: MapAxes) -> tuple[NDArray[np.float64], float]:
    """Return each vector's place, [N, 2], and the share of the vectors' variance that the places show."""
    centred = vectors.astype(np.float64) - np.array(axes.centre)
    places: NDArray[np.float64] = centred @ np.array(axes.axes).T
    total = float(centred.var(axis=0).sum())
    return places, float(places.var(axis=0).sum()) / total if total else 0.0


def _name(sample: ServedSample, row: int) -> str:
    product = sample.products[sample.ids[row]]
    return f"{product.title[:MAX_TITLE]} ({product.product_id})"
