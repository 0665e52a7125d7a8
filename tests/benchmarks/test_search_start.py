"""Tests of the benchmark of a search's start: what it measures and how it sums up."""

import pytest

from benchmarks.search_start import Cost, measure_process, render, summarise


def test_a_process_costs_time_and_must_succeed() -> None:
    cost = measure_process(("-c", "sum(range(10**6))"))
    assert 0 < cost.cpu_seconds <= cost.seconds * 2
    with pytest.raises(RuntimeError, match="failed"):
        measure_process(("-c", "raise SystemExit(3)"))


def test_the_ratio_is_that_of_rounds() -> None:
    rounds = [(Cost(2, 1), Cost(2, 2)), (Cost(4, 1), Cost(6, 1)), (Cost(1, 1), Cost(2, 3))]
    result = summarise(rounds)
    assert (result["ratio"], result["cpu_ratio"]) == (1.5, 2)
    assert result["imports"] == {"seconds": 2, "cpu_seconds": 1}
    assert "| search / imports | **1.5** | 2.0 |" in render(result)
