import pytest

from validation.breakers import Breaker, relax_refusals, round_up_percent


@pytest.mark.parametrize(
    ("count", "total", "is_tripped"),
    [
        (100, 1000, False),  # exactly the share
        (101, 1000, True),
        (10, 10, False),  # as many rows as are tolerated, whatever their share
        (11, 11, True),
        (11, 0, True),
        (0, 0, False),
    ],
)
def test_a_breaker_trips_above_both_a_share_and_a_number_of_rows(count, total, is_tripped):
    assert Breaker(count, total, max_share=0.1, tolerated_rows=10).is_tripped is is_tripped


def test_the_advised_share_suffices_and_is_rounded_up():
    breaker = Breaker(120_001, 1_000_000, max_share=0.1, tolerated_rows=10)
    assert breaker.share == pytest.approx(0.120001)
    assert round_up_percent(breaker.share) == 0.13
    assert [round_up_percent(share) for share in (0.0, 0.14, 0.28, 0.5701, 0.999, 2.5)] == [0, 0.14, 0.28, 0.58, 1, 1]
    advised = Breaker(120_001, 1_000_000, max_share=0.13, tolerated_rows=10)
    assert not advised.is_tripped


def test_what_the_last_served_run_refused_passes_again_and_a_little_more():
    assert relax_refusals(0.1, None) == 0.1
    assert relax_refusals(0.1, 0.02) == 0.1
    assert relax_refusals(0.1, 0.3) == pytest.approx(0.35)
