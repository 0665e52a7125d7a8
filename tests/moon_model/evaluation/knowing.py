"""An embedder that knows where every product lies: what it scores is what a task calls right."""

from collections.abc import Mapping

import numpy as np

from moon_model.evaluation.metrics import Floats
from moon_model.evaluation.tasks import Products


class Knowing:
    """Puts each product on an axis of its own choice; products of one axis are nearest to one another."""

    name = "knowing"

    def __init__(self, axes: Mapping[str, int], dimension: int) -> None:
        self.axes, self.dimension = axes, dimension

    def embed(self, products: Products, texts: Products) -> Floats:
        """One-hot vectors by the id of each product."""
        return np.eye(self.dimension, dtype=np.float32)[[self.axes[one.id] for one in products]]
