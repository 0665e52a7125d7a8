"""Metrics of retrieval and classification, one value a query, with bootstrap intervals.

All take and give NumPy arrays; vectors are L2-normalised, so the inner product is the cosine similarity.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Scores = NDArray[np.float64]
Indices = NDArray[np.int64]

QUERY_BLOCK = 1024


def search_top_k(queries: Floats, items: Floats, k: int, *, exclude: Indices | None = None) -> Indices:
    """Search exactly: the k nearest items of each query, best first, ties by the lower index.

    Args:
        queries: [Q, D].
        items: [N, D].
        k: neighbours wanted; at most N (less one where something is excluded).
        exclude: [Q], an item that must not be found (the query itself), or -1.

    Returns:
        [Q, k] item indices.

    Raises:
        ValueError: there are fewer than k items.
    """
    available = len(items) - (exclude is not None)
    if k > available:
        raise ValueError(f"{k} neighbours wanted, {available} items to find")
    found = np.empty((len(queries), k), dtype=np.int64)
    for start in range(0, len(queries), QUERY_BLOCK):
        block = slice(start, start + QUERY_BLOCK)
        scores = queries[block] @ items.T
        if exclude is not None:
            rows = np.flatnonzero(exclude[block] >= 0)
            scores[rows, exclude[block][rows]] = -np.inf
        found[block] = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return found


def compute_hits(found: Indices, relevant: Sequence[set[int]], k: int) -> Scores:
    """Return 1 where any of the first k found is relevant, else 0: R@k with one right answer, hit@k with several."""
    pairs = zip(found[:, :k].tolist(), relevant, strict=True)
    return np.array([float(bool(right.intersection(row))) for row, right in pairs])


def compute_ndcg(found: Indices, relevant: Sequence[set[int]], k: int) -> Scores:
    """Return the normalised discounted cumulative gain at k with binary gains; 0 where nothing is relevant."""
    discounts = 1 / np.log2(np.arange(2, k + 2))
    values = []
    for row, right in zip(found[:, :k].tolist(), relevant, strict=True):
        gains = np.array([item in right for item in row], dtype=float)
        ideal = discounts[: min(k, len(right))].sum()
        values.append(float((gains * discounts[: len(gains)]).sum() / ideal) if right else 0.0)
    return np.array(values)


@dataclass(frozen=True)
class ClassificationScores:
    """Accuracy, and precision, recall and F1 averaged over the classes that occur (macro)."""

    accuracy: float
    precision: float
    recall: float
    f1: float


def score_classification(predicted: Sequence[str], actual: Sequence[str]) -> ClassificationScores:
    """Compare predicted with actual labels; a class never predicted has precision 0."""
    guesses, truth = np.asarray(predicted), np.asarray(actual)
    precision, recall, f1 = [], [], []
    for label in np.unique(truth):
        right = float(((guesses == label) & (truth == label)).sum())
        precise = right / max(float((guesses == label).sum()), 1.0)
        found = right / float((truth == label).sum())
        precision.append(precise)
        recall.append(found)
        f1.append(2 * precise * found / (precise + found) if right else 0.0)
    return ClassificationScores(
        accuracy=float((guesses == truth).mean()),
        precision=float(np.mean(precision)),
        recall=float(np.mean(recall)),
        f1=float(np.mean(f1)),
    )


@dataclass(frozen=True)
class BootstrapEstimate:
    """A mean with its bootstrap 95% interval and the number of queries behind it."""

    mean: float
    low: float
    high: float
    count: int


def bootstrap_mean(values: Scores, *, seed: int, samples: int = 1000) -> BootstrapEstimate:
    """Return the mean of per-query values and the percentile interval of resampled means.

    Raises:
        ValueError: there are no values.
    """
    if not len(values):
        raise ValueError("no queries: nothing to average")
    generator = np.random.default_rng(seed)
    means = np.array([values[generator.integers(0, len(values), len(values))].mean() for _ in range(samples)])
    low, high = np.percentile(means, [2.5, 97.5])
    return BootstrapEstimate(float(values.mean()), float(low), float(high), len(values))
