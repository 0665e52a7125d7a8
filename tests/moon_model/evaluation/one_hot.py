"""An embedder with a chosen vector for each product, so that a task's scores are known beforehand."""

from collections.abc import Mapping

import numpy as np

from moon_model.evaluation.metrics import Floats
from moon_model.evaluation.tasks import Products


class OneHotEmbedder:
    """Embeds each product as the unit vector of a given axis; products of one axis have the same vector.

    Args:
        axes: axis of each product id.
        dimension: length of the vectors.
    """

    name = "one-hot"

    def __init__(self, axes: Mapping[str, int], dimension: int) -> None:
        self.axes = axes
        self.dimension = dimension

    def embed(self, products: Products, texts: Products) -> Floats:
        """See `Embedder`."""
        return np.eye(self.dimension, dtype=np.float32)[[self.axes[one.id] for one in products]]
