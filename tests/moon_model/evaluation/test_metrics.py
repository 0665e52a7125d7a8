"""Metrics against small cases with known results, reference implementations and invariants."""

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
    assert result["accuracy"].tolist() == [1, 0, 1, 0]
    assert result["macro precision"] == pytest.approx([(0.5 + 0.5 + 0) / 3])
    assert result["macro recall"] == pytest.approx([(1 + 0.5 + 0) / 3])
    assert result["macro f1"] == pytest.approx([(2 / 3 + 0.5 + 0) / 3])


labels = st.sampled_from("abcd")


@given(st.lists(st.tuples(labels, labels), min_size=1, max_size=30))
def test_macro_averages_are_of_the_classes_that_occur(pairs: list[tuple[str, str]]) -> None:
    """The same figures as by counting; a class never predicted has precision 0, one predicted in error none at all."""
    scores = []
    for label in sorted({truth for _, truth in pairs}):
        right = sum(guess == truth == label for guess, truth in pairs)
        precision = right / max(sum(guess == label for guess, _ in pairs), 1)
        recall = right / sum(truth == label for _, truth in pairs)
        scores.append((precision, recall, 2 * precision * recall / (precision + recall) if right else 0.0))
    result = metrics.score_classification(*zip(*pairs, strict=True))
    assert result["accuracy"].tolist() == [guess == truth for guess, truth in pairs]
    found = [result[f"macro {name}"].item() for name in ("precision", "recall", "f1")]
    assert found == pytest.approx(np.mean(scores, axis=0), abs=1e-12)


@pytest.mark.parametrize("size", [20, 300, 2000])
def test_the_interval_is_the_percentiles_of_resampled_means(size: int) -> None:
    generator = np.random.default_rng(size)
    values = generator.random(size)
    means = [generator.choice(values, size).mean() for _ in range(1000)]
    found = metrics.bootstrap_mean(values, seed=0)
    assert found.mean == pytest.approx(values.mean(), abs=1e-9)
    error = values.std() / np.sqrt(size)  # a 2.5% percentile of 1,000 means has a sampling error of 0.09 of it
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), abs=0.4 * error)


def test_the_interval_holds_the_mean_and_narrows_with_more_queries() -> None:
    generator = np.random.default_rng(1)
    few, many = (metrics.bootstrap_mean(generator.random(size), seed=0) for size in (20, 2000))
    assert few.low <= few.mean <= few.high
    assert many.high - many.low < few.high - few.low
    assert metrics.bootstrap_mean(np.ones(5), seed=0) == metrics.BootstrapEstimate(1.0, 1.0, 1.0, 5)
    assert metrics.bootstrap_mean(np.array([0.3]), seed=0) == metrics.BootstrapEstimate(0.3, 0.3, 0.3, 1)
    with pytest.raises(ValueError, match="no queries"):
        metrics.bootstrap_mean(np.array([]), seed=0)
