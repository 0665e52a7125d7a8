"""What is asked of an embedding: retrieval and labelling by similarity (paper, "Benchmark"; all zero-shot).

Queries, items and label texts are all `Product`s, so a baseline sees exactly what the model sees.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from moon_model.evaluation.metrics import Floats, Scores, compute_hits, compute_ndcg, score_classification, search_top_k
from moon_model.product import Product

Products = Sequence[Product]
EmbedProducts = Callable[[Products], Floats]
"""Products to L2-normalised vectors [N, D]; the same sequence object may be asked for again at no cost."""

TOP_K_CUTS = (1, 5, 10)


@dataclass(frozen=True)
class RetrievalTask:
    """Queries that should find their items.

    Attributes:
        name: such as "text → item".
        queries: Q of them.
        items: what is searched; several tasks should share one object.
        relevant: for each query the indices of the right items.
        self_items: for each query the item that it is itself and that must not be found; None: no query is an item.
        has_variants: the right items of a query are one product in several sizes; finding any of them is finding it.
    """

    name: str
    queries: Products
    items: Products
    relevant: Sequence[frozenset[int]]
    self_items: Sequence[int] | None = None
    has_variants: bool = False

    @property
    def texts(self) -> Products:
        """What a baseline may learn word frequencies from."""
        return self.items

    def score(self, embed: EmbedProducts) -> Iterator[tuple[str, Scores]]:
        """Yield metric names and values per query: R@k where one answer is right, hit@10 and nDCG@10 where several."""
        exclude = None if self.self_items is None else np.asarray(self.self_items, dtype=np.int64)
        cuts = [k for k in TOP_K_CUTS if k <= len(self.items) - (exclude is not None)]
        found = search_top_k(embed(self.queries), embed(self.items), cuts[-1], exclude=exclude)
        right = [set(one) for one in self.relevant]
        if self.has_variants or all(len(one) == 1 for one in right):
            yield from ((f"R@{k}", compute_hits(found, right, k)) for k in cuts)
        else:
            yield from ((f"hit@{k}", compute_hits(found, right, k)) for k in cuts if k in (1, 10))
            yield f"nDCG@{cuts[-1]}", compute_ndcg(found, right, cuts[-1])


@dataclass(frozen=True)
class LabellingTask:
    """Products that should lie nearest to the text of their label.

    Attributes:
        name: such as "category 2" or "colour, from images only".
        products: with the probed field removed from the field and masked in the texts.
        actual: the label of each.
        labels: all label texts, as they are embedded.
    """

    name: str
    products: Products
    actual: Sequence[str]
    labels: Products

    @cached_property  # one object, so that vectors made with it are found again
    def texts(self) -> Products:
        """What a baseline may learn word frequencies from."""
        return [*self.products, *self.labels]

    def score(self, embed: EmbedProducts) -> Iterator[tuple[str, Scores]]:
        """Yield accuracy per product, and macro precision, recall and F1 as single values."""
        nearest = search_top_k(embed(self.products), embed(self.labels), 1)[:, 0]
        predicted = [self.labels[index].title for index in nearest]
        yield "accuracy", np.array([one == two for one, two in zip(predicted, self.actual, strict=True)], dtype=float)
        macro = score_classification(predicted, self.actual)
        for name in ("precision", "recall", "f1"):
            yield f"macro {name}", np.array([getattr(macro, name)])


Task = RetrievalTask | LabellingTask


@dataclass(frozen=True)
class Benchmark:
    """Tasks on one data set.

    Attributes:
        name: of the data set.
        tasks: to run.
        about: what is in it, for the report: counts, and the seed of what was drawn.
    """

    name: str
    tasks: Sequence[Task]
    about: Mapping[str, int | str] = field(default_factory=dict)

    def digest(self) -> str:
        """Return 16 hex digits over every text and image of the tasks."""
        total = sha256()
        for task in self.tasks:
            groups = (task.queries, task.items) if isinstance(task, RetrievalTask) else (task.products, task.labels)
            total.update(task.name.encode())
            for product in (product for group in groups for product in group):
                texts = (product.title, product.description, product.category, sorted(product.attributes.items()))
                total.update(repr(texts).encode())
                for image in product.images:
                    total.update(_image_digest(image))
        return total.hexdigest()[:16]


def _image_digest(image: str | Path | bytes | Image.Image) -> bytes:
    if isinstance(image, Image.Image):
        return sha256(image.tobytes()).digest()
    return sha256(image if isinstance(image, bytes) else Path(image).read_bytes()).digest()
