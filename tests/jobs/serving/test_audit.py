"""Tests of audit: the sum over ids and content hashes finds an exchange that keeps the count, in any order of rows."""

from hypothesis import given
from hypothesis import strategies as st

from jobs.serving.audit import RowSum, hash_row, sum_rows

ROWS = st.lists(st.tuples(st.text(max_size=6), st.text("0123456789abcdef", max_size=8)), unique=True, max_size=30)


@given(ROWS, st.randoms(use_true_random=False), st.integers(0, 30))
def test_a_sum_depends_neither_on_the_order_nor_on_the_parts(rows, random, cut):
    shuffled = random.sample(rows, len(rows))
    assert sum_rows(shuffled[:cut]) + sum_rows(shuffled[cut:]) == sum_rows(rows)


@given(ROWS, st.tuples(st.text(max_size=6), st.text("0123456789abcdef", max_size=8)))
def test_an_exchanged_row_changes_the_sum(rows, foreign):
    if rows and foreign not in rows:
        assert sum_rows([foreign, *rows[1:]]) != sum_rows(rows)
        assert sum_rows([foreign, *rows[1:]]).rows == len(rows)


def test_hashes_fit_64_bits_and_keep_id_and_hash_apart():
    assert hash_row("a", "bc") != hash_row("ab", "c")
    assert 0 <= hash_row("p", "f" * 64) < 1 << 64
    assert RowSum(1, (1 << 64) - 1) + RowSum(1, 2) == RowSum(2, 1)
