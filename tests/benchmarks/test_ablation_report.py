"""The ablation's table: intervals by Student's t, and differences seed by seed."""

from pathlib import Path

import pytest
from scipy import stats

from benchmarks.ablation_report import (
    HEADLINE_METRIC_BY_TASK,
    AblationRun,
    compare_with_full,
    compute_interval,
    read_runs,
    render_ablation_page,
)


def run(variant: str, seed: int, score: float) -> AblationRun:
    return AblationRun(variant, seed, dict.fromkeys(HEADLINE_METRIC_BY_TASK, score), 1.0)


RUNS = [
    run("full", 1, 0.5),
    run("full", 2, 0.6),
    run("full", 3, 0.7),
    *(run("plain", n, 0.3 + n / 10) for n in (1, 2, 3)),
]


def test_an_interval_is_that_of_the_mean() -> None:
    middle, half = compute_interval([0.5, 0.6, 0.7])
    low, high = stats.t.interval(0.95, 2, loc=0.6, scale=stats.sem([0.5, 0.6, 0.7]))
    assert (middle - half, middle + half) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
    for count in range(2, 8):
        _, half = compute_interval([float(number) for number in range(count)])
        assert half == pytest.approx(stats.t.ppf(0.975, count - 1) * stats.sem(range(count)))
    assert compute_interval([0.4]) == (0.4, 0.0)


def test_variants_are_compared_seed_by_seed() -> None:
    better, half = compare_with_full(RUNS, "plain")
    assert better == pytest.approx(0.1)
    assert half == pytest.approx(0.0, abs=1e-9), "the same difference at every seed, however far the seeds lie apart"


def test_the_page_has_a_row_for_each_variant_that_ran(tmp_path: Path) -> None:
    page = render_ablation_page(RUNS, ["full", "plain", "never ran"], "Small.")
    rows = [line for line in page.splitlines() if line.startswith(("| full", "| plain", "| never"))]
    assert rows[0].startswith("| full | 60.0 ± 24.8 |")
    assert rows[1].endswith("| 10.0 ± 0.0 |")
    assert len(rows) == 2
    assert read_runs(tmp_path / "none.jsonl") == []
