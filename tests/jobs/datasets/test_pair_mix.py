"""The mix of query kinds: as many pairs as the purchases allow, in the paper's proportion."""

from hypothesis import given
from hypothesis import strategies as st

from jobs.datasets.pair_mix import QUERY_MIX, fit_query_mix

COUNTS = st.integers(0, 400)


@given(free=COUNTS, image=COUNTS, text=COUNTS)
def test_nothing_is_invented_and_the_proportion_holds(free: int, image: int, text: int) -> None:
    wanted, borrowed = fit_query_mix(free, image, text)
    own = {"image": image, "text": text, "both": 0}
    assert sum(borrowed.values()) <= free
    assert all(wanted[kind] - borrowed[kind] <= own[kind] for kind in wanted)
    assert sum(wanted.values()) <= free + image + text
    parts = sum(QUERY_MIX[kind] for kind in wanted)
    total = sum(wanted.values())
    assert all(abs(wanted[kind] - total * QUERY_MIX[kind] / parts) <= len(QUERY_MIX) for kind in wanted)


@given(scale=st.integers(0, 30))
def test_a_log_in_the_mix_is_used_whole(scale: int) -> None:
    wanted, _ = fit_query_mix(2 * scale, 12 * scale, 3 * scale)
    assert wanted == ({kind: part * scale for kind, part in QUERY_MIX.items()} if scale else {})


def test_free_purchases_fill_what_is_rare() -> None:
    assert fit_query_mix(17, 0, 0) == ({"image": 12, "text": 3, "both": 2}, {"image": 12, "text": 3, "both": 2})
    assert fit_query_mix(5, 12, 0) == ({"image": 12, "text": 3, "both": 2}, {"image": 0, "text": 3, "both": 2})


def test_a_kind_that_nobody_asks_by_is_left_out() -> None:
    assert fit_query_mix(0, 12, 3) == ({"image": 12, "text": 3}, {"image": 0, "text": 0})
    assert fit_query_mix(0, 9, 0) == ({"image": 9}, {"image": 0})
