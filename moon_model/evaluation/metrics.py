"""Retrieval and classification metrics, one value per query, with bootstrap intervals.

Vectors are L2-normalised, so that the inner product is the cosine similarity. Classification and intervals come from
scikit-learn and scipy; docs/decisions ("Metrics of the benchmark") says why search and nDCG do not.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import precision_recall_fscore_support

Floats = NDArray[np.float32]
Scores = NDArray[np.float64]
Indices = NDArray[np.int64]

QUERY_BLOCK = 1024
"""Queries whose scores are in memory at once."""

RESAMPLE_BATCH = 100
"""Bootstrap resamples in memory at once; this is faster than all at once and faster than one at a time."""


def search_top_k(queries: Floats, items: Floats, k: int, *, exclude: Indices | None = None) -> Indices:
    """Return the k nearest items of each query by exact search, best first; ties go to the lower index.

    Args:
        queries: vectors [Q, D].
        items: vectors [N, D].
        k: number of neighbours, at most N (N - 1 with ``exclude``).
        exclude: [Q] index of the item that is excluded from each query's result (the query itself), -1 for none.

    Returns:
        [Q, k] item indices.

    Raises:
        ValueError: there are fewer than k items.
    """
    # A query that is itself an item has one item less to find.
    available = len(items) - (exclude is not None)
    if k > available:
        raise ValueError(f"{k} neighbours wanted, {available} items to find")
    found = np.empty((len(queries), k), dtype=np.int64)
    for start in range(0, len(queries), QUERY_BLOCK):
        block = slice(start, start + QUERY_BLOCK)
        # Inner products of a block of queries with all items; a query's own item gets the lowest score.
        scores = queries[block] @ items.T
        if exclude is not None:
            rows = np.flatnonzero(exclude[block] >= 0)
            scores[rows, exclude[block][rows]] = -np.inf
        # A stable sort, so that ties go to the lower index.
        found[block] = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return found


def compute_hits(found: Indices, relevant: Sequence[Set[int]], k: int) -> Scores:
    """Return [Q] with 1 where a relevant item is among the first k: R@k with one relevant item, hit@k with several."""
    pairs = zip(found[:, :k].tolist(), relevant, strict=True)
    return np.array([not right.isdisjoint(row) for row, right in pairs], dtype=np.float64)


def compute_ndcg(found: Indices, relevant: Sequence[Set[int]], k: int) -> Scores:
    """Return [Q] normalised discounted cumulative gains at k with binary gains; 0 where nothing is relevant."""
    discounts = 1 / np.log2(np.arange(2, k + 2))
    values = []
    for row, right in zip(found[:, :k].tolist(), relevant, strict=True):
        gains = np.array([item in right for item in row], dtype=float)
        ideal = discounts[: min(k, len(right))].sum()
        values.append(float((gains * discounts[: len(gains)]).sum() / ideal) if right else 0.0)
    return np.array(values)


def score_classification(predicted: Sequence[str], actual: Sequence[str]) -> dict[str, Scores]:
    """Return metric names and values: accuracy per product [N], macro averages [1] over the classes in ``actual``.

    A class that is never predicted has precision 0.
    """
    right = np.asarray(predicted) == np.asarray(actual)
    classes = sorted(set(actual))
    macro = precision_recall_fscore_support(actual, predicted, labels=classes, average="macro", zero_division=0)
    averages = zip(("macro precision", "macro recall", "macro f1"), macro, strict=False)  # the fourth is no average
    return {"accuracy": right.astype(np.float64)} | {name: np.array([value]) for name, value in averages}


@dataclass(frozen=True)
class BootstrapEstimate:
    """A mean, its 95% interval and the number of queries that it is computed from."""

    mean: float
    low: float
    high: float
    count: int


def bootstrap_mean(values: Scores, *, seed: int, samples: int = 1000) -> BootstrapEstimate:
    """Return the mean of per-query values with its 95% percentile bootstrap interval; one value is its own interval.

    Raises:
        ValueError: there are no values.
    """
    if not len(values):
        raise ValueError("no queries: there is nothing to average")
    low = high = mean = float(values.mean())
    if len(values) > 1:
        found = stats.bootstrap(
            (values,), np.mean, n_resamples=samples, batch=RESAMPLE_BATCH, method="percentile", rng=seed
        )
        low, high = map(float, found.confidence_interval)
    return BootstrapEstimate(mean, low, high, len(values))
