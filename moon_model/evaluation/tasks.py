"""Benchmark tasks: retrieval, and labelling by similarity, all zero-shot (docs/paper.md, "Benchmark").

Queries, items and label texts are all `Product`s, so that a baseline sees exactly what the model sees.
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
"""Maps products to L2-normalised vectors [N, D]; a second call with the same sequence object costs nothing."""

TOP_K_CUTS = (1, 5, 10)


@dataclass(frozen=True)
class RetrievalTask:
    """A retrieval task: queries, items, and the relevant items of each query.

    Attributes:
        name: row label in the report, such as "text → item".
        queries: the Q queries.
        items: the N items that are searched; tasks that share one object are embedded once.
        relevant: indices of the relevant items of each query.
        self_items: index of the item that is the query itself and is excluded; None: no query is an item.
        has_variants: the relevant items of a query are sizes of one product, so that any of them counts as R@k.
    """

    name: str
    queries: Products
    items: Products
    relevant: Sequence[frozenset[int]]
    self_items: Sequence[int] | None = None
    has_variants: bool = False

    @property
    def texts(self) -> Products:
        """Products that a baseline may count word frequencies in."""
        return self.items

    def score(self, embed: EmbedProducts) -> Iterator[tuple[str, Scores]]:
        """Yield metric names with values per query: R@k for one relevant item, hit@k and nDCG@k for several."""
        exclude = None if self.self_items is None else np.asarray(self.self_items, dtype=np.int64)
        cuts = [k for k in TOP_K_CUTS if k <= len(self.items) - (exclude is not None)]
        found = search_top_k(embed(self.queries), embed(self.items), cuts[-1], exclude=exclude)
        if self.has_variants or all(len(one) == 1 for one in self.relevant):
            yield from ((f"R@{k}", compute_hits(found, self.relevant, k)) for k in cuts)
        else:
            yield from ((f"hit@{k}", compute_hits(found, self.relevant, k)) for k in cuts if k in (1, 10))
            yield f"nDCG@{cuts[-1]}", compute_ndcg(found, self.relevant, cuts[-1])


@dataclass(frozen=True)
class LabellingTask:
    """A classification task: the label whose text is nearest to a product is the prediction.

    Attributes:
        name: row label in the report, such as "category 2" or "colour, images only".
        products: the N products, without the predicted field and with its words masked in the texts.
        actual: the true label of each product.
        labels: all label texts as products.
    """

    name: str
    products: Products
    actual: Sequence[str]
    labels: Products

    @cached_property  # always the same object: vectors are cached by its identity
    def texts(self) -> Products:
        """Products that a baseline may count word frequencies in."""
        return [*self.products, *self.labels]

    def score(self, embed: EmbedProducts) -> Iterator[tuple[str, Scores]]:
        """Yield accuracy per product, and macro precision, recall and F1 as single values."""
        nearest = search_top_k(embed(self.products), embed(self.labels), 1)[:, 0]
        yield from score_classification([self.labels[index].title for index in nearest], self.actual).items()


Task = RetrievalTask | LabellingTask


@dataclass(frozen=True)
class Benchmark:
    """Tasks on one data set.

    Attributes:
        name: name of the data set.
        tasks: the tasks.
        about: facts for the report: counts, and the seed of what was drawn.
    """

    name: str
    tasks: Sequence[Task]
    about: Mapping[str, int | str] = field(default_factory=dict)

    def compute_digest(self) -> str:
        """Return 16 hexadecimal digits that change with any text, image or task name; ids do not count."""
        total = sha256()
        for task in self.tasks:
            groups = (task.queries, task.items) if isinstance(task, RetrievalTask) else (task.products, task.labels)
            total.update(task.name.encode())
            for product in (product for group in groups for product in group):
                texts = (product.title, product.description, product.category, sorted(product.attributes.items()))
                total.update(repr(texts).encode())
                for image in product.images:
                    total.update(_compute_image_digest(image))
        return total.hexdigest()[:16]


def _compute_image_digest(image: str | Path | bytes | Image.Image) -> bytes:
    if isinstance(image, Image.Image):
        return sha256(image.tobytes()).digest()
    return sha256(image if isinstance(image, bytes) else Path(image).read_bytes()).digest()
