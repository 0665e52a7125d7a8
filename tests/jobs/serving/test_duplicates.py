"""Tests of duplicates: the groups are those of a comparison of every pair; variants do not count; chains stay whole."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import jobs.serving.duplicates
from jobs.errors import NightStoppedError
from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.serving.duplicates import ServedProduct, ServedVectors, find_duplicates, read_served_vectors
from schemas.tables import TABLES

MODEL = "a" * 64


def make_served(vectors: NDArray[np.float32], groups: list[str] | None = None) -> ServedVectors:
    names = [f"p{number}" for number in range(len(vectors))]
    products = [
        ServedProduct(name, f"h{name}", group, "2026-01-02") for name, group in zip(names, groups or names, strict=True)
    ]
    return ServedVectors(products, vectors, 0)


def draw_vectors(count: int, seed: int, spread: float = 0.25) -> NDArray[np.float32]:
    """Return unit vectors around a few centres, so that many pairs are similar and chains are long."""
    random = np.random.default_rng(seed)
    drawn = random.normal(size=(4, 8))[random.integers(0, 4, count)] + spread * random.normal(size=(count, 8))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def group_by_all_pairs(served: ServedVectors, min_score: float) -> set[frozenset[str]]:
    """Return groups as a search from product to product finds them."""
    products, scores = served.products, served.vectors @ served.vectors.T
    similar = {
        one: [
            other
            for other in range(len(products))
            if scores[one, other] >= min_score and products[one].group_id != products[other].group_id
        ]
        for one in range(len(products))
    }
    found, seen = set(), set()
    for start in similar:
        waiting, group = [start], set()
        while waiting:
            row = waiting.pop()
            if row not in group:
                group.add(row)
                waiting += similar[row]
        if len(group) > 1 and start not in seen:
            found.add(frozenset(products[row].product_id for row in group))
        seen |= group
    return found


@given(st.integers(2, 40), st.integers(0, 1000), st.sampled_from([3, 8, 64]), st.booleans())
def test_groups_are_those_of_all_pairs(count: int, seed: int, block: int, has_variants: bool) -> None:
    groups = [f"g{number // 3}" for number in range(count)] if has_variants else None
    served = make_served(draw_vectors(count, seed), groups)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs.serving.duplicates, "BLOCK", block)
        found = find_duplicates(served, 0.9)
    assert {frozenset(one.product.product_id for one in group) for group in found} == group_by_all_pairs(served, 0.9)
    rows = {product.product_id: row for row, product in enumerate(served.products)}
    codes = np.array([product.group_id for product in served.products])
    for group in found:
        first = served.vectors[rows[group[0].product.product_id]]
        for one in group:
            mine = served.vectors[rows[one.product.product_id]]
            assert one.score == pytest.approx(float(mine @ first), abs=1e-5)
            others = np.where(codes == one.product.group_id, -2, served.vectors @ mine)
            assert one.nearest_score == pytest.approx(float(others.max()), abs=1e-5)
        assert [one.score for one in group] == sorted((one.score for one in group), reverse=True)


def test_a_chain_is_one_group_whose_ends_come_last() -> None:
    angles = np.radians([0, 14, 30, 200])
    served = make_served(np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32))
    progress: list[tuple[int, int]] = []
    (group,) = find_duplicates(served, 0.95, lambda done, total: progress.append((done, total)))
    assert [one.product.product_id for one in group] == ["p1", "p0", "p2"]
    assert (group[0].score, group[0].nearest_id) == (1.0, "p0") and group[1].nearest_id == "p1"
    assert progress == [(1, 1)]
    assert find_duplicates(served, 0.99) == []


def test_vectors_are_those_of_the_ledger(tmp_path, seed: Callable[..., None]) -> None:
    lake = Lake(Storage(str(tmp_path / "lake")))
    with pytest.raises(NightStoppedError, match="knows no product of moon_a"):
        read_served_vectors(lake, "moon_a", MODEL)
    assert not any(lake.exists(table) for table in TABLES), "nothing is created"
    rows = [
        ("a", "upsert", "old", 1), ("a", "upsert", "new", 2), ("b", "upsert", "hb", 1), ("b", "delete", None, 2),
        ("c", "upsert", "hc", 1), ("lost", "upsert", "hl", 1),
    ]  # fmt: skip
    names = ("product_id", "op", "content_hash", "epoch")
    served = [{**dict(zip(names, row, strict=True)), "snapshot_date": f"2026-01-0{row[3]}"} for row in rows]
    seed(lake, "served", served, {"collection": "moon_a"})
    seed(lake, "served", [{**served[0], "product_id": "z"}], {"collection": "moon_b"})
    for date, made in {
        "2026-01-01": [("a", "old", 1, False), ("c", "hc", 2, False), ("b", "hb", 3, False)],
        "2026-01-02": [("a", "new", 4, True), ("c", "hc", 5, True)],
        "2026-01-03": [("a", "new", 6, True)],
    }.items():
        vectors = [
            {"product_id": name, "content_hash": content, "vector": [float(number), 0.0], "partial": partial}
            for name, content, number, partial in made
        ]
        seed(lake, "vectors", vectors, {"model_version": MODEL, "date": date})
    found = read_served_vectors(lake, "moon_a", MODEL)
    assert [product.product_id for product in found.products] == ["a", "c"] and found.missing == 1
    assert found.vectors[:, 0].tolist() == [6.0, 2.0], "the latest, and a complete one before a partial one"
    assert found.products[0].snapshot_date == "2026-01-02"
