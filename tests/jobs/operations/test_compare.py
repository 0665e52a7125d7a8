"""Tests of comparing the neighbours of two models: exact search, overlap, and the sample of products."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.operations.compare import (
    CompareError,
    compare_models,
    draw_comparison_sample,
    find_neighbours,
    measure_overlap,
    resolve_model_version,
    share_same_category,
)

A, B = "a" * 64, "b" * 64
DATE = "2026-01-02"


def unit(rows, dimension, seed):
    vectors = np.random.default_rng(seed).normal(size=(rows, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@settings(deadline=None)  # a loaded machine is no failure
@given(st.integers(2, 400), st.integers(1, 12), st.integers(0, 9))
def test_neighbours_are_the_nearest_others(rows, k, seed):
    vectors, k = unit(rows, 6, seed), min(k, rows - 1)
    found = find_neighbours(vectors, rows, k)
    assert found.shape == (rows, k)
    for row in range(0, rows, 37):
        scores = vectors @ vectors[row]
        assert row not in found[row]
        others = np.delete(np.arange(rows), row)
        best = np.sort(scores[others])[::-1][:k]
        assert np.allclose(scores[found[row]], best, atol=1e-6)


def test_overlap_is_the_share_that_both_name():
    one, other = np.array([[1, 2, 3, 4], [5, 6, 7, 8]]), np.array([[4, 3, 9, 10], [8, 7, 6, 5]])
    assert measure_overlap(one, other).tolist() == [0.5, 1.0]
    assert measure_overlap(one, one).tolist() == [1.0, 1.0]


def test_neighbours_of_the_products_own_category_are_counted_where_there_are_categories():
    found = np.array([[1, 2], [0, 2], [0, 1]])
    assert share_same_category(["A", "A", "B"], found) == pytest.approx(1 / 3, abs=1e-4)
    assert share_same_category(["A", "", "A"], found) == 0.5  # of the two that have one
    assert share_same_category(["", "", ""], found) is None


@pytest.fixture
def lake(make_night, seed):
    """Twelve products: ten with vectors of both models, one of each alone; B sees p00 elsewhere."""
    lake = make_night().lake
    names = [f"p{n:02}" for n in range(12)]
    products = [{"product_id": name, "source_row": n, "title": f"Title {name}", "content_hash": "h", "attributes": []}
                for n, name in enumerate(names)]  # fmt: skip
    seed(lake, "products", products, {"date": DATE})
    vectors = unit(12, 8, 1)
    other = vectors.copy()
    other[0] = -vectors[0]
    for model, matrix, taken in ((A, vectors, names[:11]), (B, other, [*names[:10], names[11]])):
        rows = [
            {"product_id": name, "content_hash": "h", "vector": matrix[names.index(name)].tolist(), "partial": False}
            for name in taken
        ]
        older = [{**rows[1], "vector": [0.0] * 7 + [1.0], "partial": True}]
        seed(lake, "vectors", rows, {"model_version": model, "date": DATE})
        seed(lake, "vectors", older, {"model_version": model, "date": "2026-01-01"})
    return lake


def test_two_models_of_a_date(spark, lake):
    found = compare_models(spark, lake, (A, B), DATE, k=3, sample_size=100, seed=0)
    assert (found["products"], found["only_first"], found["only_second"]) == (10, 1, 1)
    assert (found["sample"], found["queries"], found["k"]) == (10, 10, 3)
    assert 0 < found["overlap"] < 1
    worst = found["changed"][0]
    assert worst["overlap"] == min(row["overlap"] for row in found["changed"]) < 1
    assert [len(worst[side]) for side in ("first", "second")] == [3, 3]
    assert all(row["title"] == f"Title {row['product_id']}" for row in worst["first"])
    assert [near["score"] for near in worst["first"]] == sorted(
        (near["score"] for near in worst["first"]), reverse=True
    )
    shown = [row["product_id"] for row in (*found["changed"], *found["typical"])]
    assert len(shown) == len(set(shown)) == 10, "no product is an example twice"

    same = compare_models(spark, lake, (A, A), DATE, k=3, sample_size=100, seed=0)
    assert (same["overlap"], same["first"], same["changed"], same["products"]) == (1.0, 1.0, [], 11)


def test_the_sample_is_the_seeds(spark, lake):
    samples = [draw_comparison_sample(spark, lake, (A, B), DATE, 5, seed).ids for seed in (1, 1, 2, 3, 4)]
    assert samples[0] == samples[1]
    assert len({tuple(ids) for ids in samples}) > 1
    assert {len(ids) for ids in samples} == {5}


def test_nothing_in_common_says_what_to_do(spark, lake):
    with pytest.raises(CompareError, match=r"moon backfill --from 2026-01-02 .* --model DIR"):
        compare_models(spark, lake, (A, "c" * 64), DATE, k=3, sample_size=100, seed=0)


def test_a_model_is_named_by_folder_or_first_digits(lake, make_settings, tiny_checkpoint):
    from jobs.state.model_registry import describe_checkpoint

    settings = make_settings()
    assert resolve_model_version(lake, settings, "aaaa") == A
    assert (
        resolve_model_version(lake, settings, str(tiny_checkpoint))
        == describe_checkpoint(str(tiny_checkpoint)).model_version
    )
    for wrong in ("aaa", "cccc", "no/such/folder", "AAAA"):
        with pytest.raises(CompareError, match="names 0 models"):
            resolve_model_version(lake, settings, wrong)
