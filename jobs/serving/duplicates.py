"""duplicates: finds products whose served vectors are nearly the same, and groups them.

The vectors are those of the lake for what the ledger says is served. Every pair is compared, by products of blocks of
the matrix: memory is that of the vectors and of one block, time grows with the square of the number of products.
Pairs of one product group (variants) do not count: they are similar on purpose.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from jobs.errors import NightStoppedError
from jobs.lake.lookup import iter_batches
from jobs.lake.store import Lake
from jobs.serving.rows import stack_vectors
from jobs.state.ledger import DELETE
from schemas.collection import GROUP_FIELD, VECTOR_FIELD
from schemas.tables import CONTENT_KEY

BLOCK = 2048
"""Rows and columns of one product of blocks: 16 MiB of scores, and at most 4 million pairs."""

Progress = Callable[[int, int], None]


class ServedProduct(NamedTuple):
    """A row of the ledger, as far as duplicates need it."""

    product_id: str
    content_hash: str
    group_id: str
    snapshot_date: str


@dataclass(frozen=True)
class ServedVectors:
    """Served products with their vectors.

    Attributes:
        products: the products, by id.
        vectors: their unit vectors, [N, D].
        missing: number of served products whose vector the lake does not have.
    """

    products: list[ServedProduct]
    vectors: NDArray[np.float32]
    missing: int


@dataclass(frozen=True)
class Duplicate:
    """A product that is similar to others.

    Attributes:
        product: the product.
        score: cosine to the first product of its group of duplicates.
        nearest_id, nearest_score: the most similar product that is no variant of it, and the cosine.
    """

    product: ServedProduct
    score: float
    nearest_id: str
    nearest_score: float


def read_served_vectors(lake: Lake, collection: str, model_version: str) -> ServedVectors:
    """Return the vectors of all products that a collection serves, by the lake.

    Args:
        lake: the lake.
        collection, model_version: the collection, and the model of its vectors.

    Raises:
        NightStoppedError: the lake has no ledger of the collection.
    """
    products = _read_ledger(lake, collection)
    if not products:
        raise NightStoppedError(
            f"the ledger of this lake knows no product of {collection}: name the lake that its nights are kept in "
            "(--lake), or run `moon nightly` first"
        )
    rows = {product.product_id: row for row, product in enumerate(products)}
    ranks: list[tuple[bool, str] | None] = [None] * len(products)  # a complete vector is preferred, then the latest
    vectors = np.empty((0, 0), np.float32)
    columns = [*CONTENT_KEY, "partial", "date", VECTOR_FIELD]
    for batch in iter_batches(lake, "vectors", columns, {"model_version": model_version}):
        made = stack_vectors(batch.column(VECTOR_FIELD))
        vectors = vectors if vectors.size or not made.size else np.zeros((len(products), made.shape[1]), np.float32)
        keys = zip(*(batch.column(name).to_pylist() for name in columns[:-1]), strict=True)
        for number, (product_id, content_hash, partial, date) in enumerate(keys):
            row, rank = rows.get(product_id), (not partial, date)
            if row is None or products[row].content_hash != content_hash:
                continue
            if (best := ranks[row]) is None or best < rank:
                ranks[row], vectors[row] = rank, made[number]
    found = [row for row, rank in enumerate(ranks) if rank is not None]
    if len(found) < len(products):
        vectors = vectors[found]
    return ServedVectors([products[row] for row in found], vectors, len(products) - len(found))


def _read_ledger(lake: Lake, collection: str) -> list[ServedProduct]:
    """Return the products that a collection holds by its ledger, in the order of their ids."""
    latest: dict[str, tuple[int, str, ServedProduct]] = {}
    columns = [*CONTENT_KEY, GROUP_FIELD, "snapshot_date", "epoch", "op"]
    for batch in iter_batches(lake, "served", columns, {"collection": collection}):
        for *fields, epoch, op in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            name, content_hash, group, date = fields
            if name not in latest or latest[name][0] < epoch:
                latest[name] = epoch, op, ServedProduct(name, content_hash, group or name, date)
    return [latest[name][2] for name in sorted(latest) if latest[name][1] != DELETE]


def find_duplicates(
    served: ServedVectors, min_score: float, advance: Progress = lambda done, total: None
) -> list[list[Duplicate]]:
    """Return groups of products that are nearly the same, the largest group first.

    A product belongs to a group if it reaches the score with one other product of it: a chain of pairs is one group.
    Each group begins with its most typical product (the nearest to the group's mean); the others follow by their
    cosine to it, so that the ends of a chain come last, with scores below `min_score`.

    Args:
        served: the products.
        min_score: minimum cosine of a pair.
        advance: called with the number of blocks done and of all.
    """
    total = len(served.products)
    labels = np.arange(total)
    nearest, best = np.full(total, -1), np.full(total, -np.inf, np.float32)
    for rows, columns, scores in _iter_blocks(served, min_score, advance):
        left, right = np.nonzero(scores >= min_score)
        labels = _join(labels, left + rows.start, right + columns.start)
        for side, other, axis in ((rows, columns, 1), (columns, rows, 0)):
            places, values = scores.argmax(axis), scores.max(axis)
            better = (values >= min_score) & (values > best[side])
            nearest[side][better], best[side][better] = places[better] + other.start, values[better]
    members = defaultdict(list)
    for row in np.flatnonzero(nearest >= 0).tolist():
        members[int(labels[row])].append(row)
    groups = [_order_group(served, rows, nearest, best) for rows in members.values()]
    return sorted(groups, key=lambda group: (-len(group), group[0].product.product_id))


def _iter_blocks(
    served: ServedVectors, min_score: float, advance: Progress
) -> Iterator[tuple[slice, slice, NDArray[np.float32]]]:
    """Yield blocks of the matrix of all scores, on and above its diagonal, that have a pair from a score on.

    Scores of a product with itself, or with another of its group, are minus infinity.
    """
    numbers = defaultdict[str, int](count().__next__)
    codes = np.array([numbers[product.group_id] for product in served.products])
    slices = [slice(start, min(start + BLOCK, len(codes))) for start in range(0, len(codes), BLOCK)]
    total, done = len(slices) * (len(slices) + 1) // 2, 0
    for number, rows in enumerate(slices):
        for columns in slices[number:]:
            scores = served.vectors[rows] @ served.vectors[columns].T
            if (scores >= min_score).any():
                scores[codes[rows, None] == codes[columns]] = -np.inf
                yield rows, columns, scores
            done += 1
            advance(done, total)


def _join(labels: NDArray[np.int64], left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the labels of connected components after adding the edges of pairs."""
    one, other = labels[left], labels[right]
    apart = one != other
    if not apart.any():
        return labels
    size = len(labels)
    edges = coo_matrix((np.ones(int(apart.sum()), bool), (one[apart], other[apart])), shape=(size, size))
    joined: NDArray[np.int64] = connected_components(edges, directed=False)[1].astype(np.int64)[labels]
    return joined


def _order_group(
    served: ServedVectors, rows: list[int], nearest: NDArray[np.int64], best: NDArray[np.float32]
) -> list[Duplicate]:
    """Return the products of a group, the most typical first."""
    vectors = served.vectors[rows]
    first = int(np.argmax(vectors @ vectors.mean(0)))
    to_first = vectors @ vectors[first]
    to_first[first] = np.inf
    order = np.argsort(-to_first, kind="stable").tolist()
    return [
        Duplicate(
            served.products[rows[place]],
            1.0 if place == first else round(float(to_first[place]), 6),
            served.products[nearest[rows[place]]].product_id,
            round(float(best[rows[place]]), 6),
        )
        for place in order
    ]
