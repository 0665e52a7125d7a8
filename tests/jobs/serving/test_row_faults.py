"""Tests of the comparison of rows: sums that do not depend on the order, faults by name, remedies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.serving.row_faults import (
    CHANGED,
    DIFFERENT,
    DOUBLED,
    FAULTS,
    FOREIGN_MODEL,
    MISSING,
    NOT_IN_LAKE,
    ORPHANED,
    STALE,
    UNRECORDED,
    WRONG_NORM,
    RowSum,
    find_row_faults,
    find_vector_faults,
    hash_row,
    merge_by_id,
    suggest_remedy,
    sum_rows,
)

ROW = st.tuples(st.text(max_size=6), st.text("0123456789abcdef", max_size=8), st.integers(0, 9))
ROWS = st.lists(ROW, unique=True, max_size=30)
IDS = st.lists(st.text(max_size=3), unique=True, max_size=20)


@given(ROWS, st.randoms(use_true_random=False), st.integers(0, 30))
def test_a_sum_depends_neither_on_the_order_nor_on_the_parts(rows, random, cut):
    shuffled = random.sample(rows, len(rows))
    assert sum_rows(shuffled[:cut]) + sum_rows(shuffled[cut:]) == sum_rows(rows)


@given(ROWS, ROW)
def test_an_exchanged_row_changes_the_sum(rows, foreign):
    if rows and foreign not in rows:
        assert sum_rows([foreign, *rows[1:]]) != sum_rows(rows)
        assert sum_rows([foreign, *rows[1:]]).rows == len(rows)


def test_hashes_fit_64_bits_and_keep_the_parts_apart():
    assert hash_row("a", "bc", 1) != hash_row("ab", "c", 1)
    assert hash_row("a1", "c", 2) != hash_row("a", "c", 12)
    assert 0 <= hash_row("p", "f" * 64, 3) < 1 << 64
    assert RowSum(1, (1 << 64) - 1) + RowSum(1, 2) == RowSum(2, 1)


@given(IDS, IDS)
def test_sides_are_merged_by_id(left, right):
    sides = ([{"product_id": key, "side": side} for key in sorted(keys)] for side, keys in enumerate((left, right)))
    merged = list(merge_by_id(*sides))
    keys = [(one or other)["product_id"] for one, other in merged]
    assert keys == sorted({*left, *right})
    assert [one is not None for one, _ in merged] == [key in left for key in keys]
    assert [other is not None for _, other in merged] == [key in right for key in keys]


@pytest.mark.parametrize(
    ("held", "wanted", "faults"),
    [
        (None, None, []),
        (None, ("h", 2), [MISSING]),
        (("h", 2, "m"), ("h", 2), []),
        (("h", 2, "m"), None, [ORPHANED]),
        (("h", 2, "x"), None, [ORPHANED, FOREIGN_MODEL]),
        (("h", 1, "m"), ("h", 2), [STALE]),
        (("h", 3, "m"), ("h", 2), [UNRECORDED]),
        (("g", 2, "m"), ("h", 2), [CHANGED]),
        (("g", 1, "x"), ("h", 2), [STALE, FOREIGN_MODEL]),
    ],
)
def test_faults_of_a_row(held, wanted, faults):
    mine = held and dict(zip(("content_hash", "epoch", "model_version"), held, strict=True))
    theirs = wanted and dict(zip(("content_hash", "epoch"), wanted, strict=True))
    assert find_row_faults(mine, theirs, "m") == faults


def test_faults_of_a_vector():
    one, other = np.float32([0.6, 0.8]), np.float32([0.8, 0.6])
    assert find_vector_faults(one, [[0.8, 0.6], [0.6, 0.8]]) == [], "either of two encodings"
    assert find_vector_faults(other, [one.tolist()]) == [DIFFERENT]
    assert find_vector_faults(np.float32([0.6, 0.8, 0]), [one.tolist()]) == [DIFFERENT], "another dimension"
    assert find_vector_faults(other, None) == [] and find_vector_faults(2 * other, None) == [WRONG_NORM]
    assert find_vector_faults(2 * one, [one.tolist()]) == [WRONG_NORM, DIFFERENT]
    assert find_vector_faults(np.float32([np.nan, 0]), []) == [WRONG_NORM, NOT_IN_LAKE]


def test_every_fault_has_a_remedy():
    assert all(suggest_remedy([fault]) for fault in FAULTS)
    assert "`moon repair`" in suggest_remedy([MISSING]) and "--deep" not in suggest_remedy([MISSING])
    assert "`moon repair --deep`" in suggest_remedy([MISSING, DIFFERENT])
    assert "Delete both rows" in suggest_remedy([DOUBLED]) and "Run `moon repair" not in suggest_remedy([DOUBLED])


def test_another_payload_is_a_changed_row_where_the_collection_has_payloads():
    wanted = {"content_hash": "c", "payload_hash": "p", "epoch": 1}
    held = {"content_hash": "c", "payload_hash": "q", "epoch": 1, "model_version": "m"}
    assert find_row_faults(held, wanted, "m") == [CHANGED]
    assert find_row_faults({**held, "payload_hash": "p"}, wanted, "m") == []
    earlier = {name: value for name, value in held.items() if name != "payload_hash"}
    assert find_row_faults(earlier, {**wanted, "payload_hash": None}, "m") == []
