"""Metrics against hand-made cases and laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moon_model.evaluation import metrics


def unit(rows: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, 8)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_every_item_finds_itself_first_and_not_when_excluded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "QUERY_BLOCK", 3)
    items = unit(10)
    assert metrics.search_top_k(items, items, 3)[:, 0].tolist() == list(range(10))
    without = metrics.search_top_k(items, items, 9, exclude=np.arange(10))
    assert all(row not in found for row, found in enumerate(without.tolist()))
    with pytest.raises(ValueError, match="10 neighbours wanted, 9"):
        metrics.search_top_k(items, items, 10, exclude=np.arange(10))


def test_ties_go_to_the_lower_index() -> None:
    items = np.repeat(unit(1), 4, axis=0)
    assert metrics.search_top_k(items[:1], items, 4).tolist() == [[0, 1, 2, 3]]


def test_hits_and_ndcg_by_hand() -> None:
    found = np.array([[4, 2, 9], [1, 2, 3], [0, 1, 2]])
    relevant = [{2}, {7}, {0, 1}]
    assert metrics.compute_hits(found, relevant, 1).tolist() == [0, 0, 1]
    assert metrics.compute_hits(found, relevant, 3).tolist() == [1, 0, 1]
    assert metrics.compute_ndcg(found, relevant, 3) == pytest.approx([1 / np.log2(3), 0, 1])


@given(st.lists(st.sets(st.integers(0, 9), max_size=10), min_size=1, max_size=5), st.integers(1, 10))
def test_a_perfect_ranking_has_ndcg_one(relevant: list[set[int]], k: int) -> None:
    found = np.array([sorted(range(10), key=lambda item: item not in right) for right in relevant])
    expected = [float(bool(right)) for right in relevant]
    assert metrics.compute_ndcg(found, relevant, k) == pytest.approx(expected)
    assert metrics.compute_hits(found, relevant, k) == pytest.approx(expected)


def test_classification_by_hand() -> None:
    result = metrics.score_classification(["a", "a", "b", "b"], ["a", "b", "b", "c"])
    assert result.accuracy == 0.5
    assert result.precision == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert result.recall == pytest.approx((1 + 0.5 + 0) / 3)
    assert result.f1 == pytest.approx((2 / 3 + 0.5 + 0) / 3)


def test_the_interval_holds_the_mean_and_narrows_with_more_queries() -> None:
    generator = np.random.default_rng(1)
    few, many = (metrics.bootstrap_mean(generator.random(size), seed=0) for size in (20, 2000))
    assert few.low <= few.mean <= few.high
    assert many.high - many.low < few.high - few.low
    assert metrics.bootstrap_mean(np.ones(5), seed=0) == metrics.BootstrapEstimate(1.0, 1.0, 1.0, 5)
    with pytest.raises(ValueError, match="no queries"):
        metrics.bootstrap_mean(np.array([]), seed=0)
