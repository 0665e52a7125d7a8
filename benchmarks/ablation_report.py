"""The ablation's table: means over seeds with 95% intervals (Student's t), and what each change costs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

HEADLINE_METRIC_BY_TASK = {
    "text → item": "hit@1",
    "image → item": "R@1",
    "image and text → item": "R@1",
    "image → other images": "R@1",
}
"""Tasks of the demo world, and what is shown of each."""

STUDENT_T_QUANTILES = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""97.5% quantile of Student's t for so many values."""


@dataclass(frozen=True)
class AblationRun:
    """One training of one variant.

    Attributes:
        variant, seed: which.
        scores: share of right answers by task (`HEADLINE_METRIC_BY_TASK`).
        seconds: of its training.
    """

    variant: str
    seed: int
    scores: dict[str, float]
    seconds: float


def read_runs(path: Path) -> list[AblationRun]:
    """Return the finished runs of a file of JSON lines; none where there is no file."""
    return [AblationRun(**json.loads(line)) for line in path.read_text().splitlines()] if path.is_file() else []


def compute_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and half width of the 95% interval; a single value has none (0)."""
    half = STUDENT_T_QUANTILES[len(values)] * stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return mean(values), half


def compare_with_full(runs: Sequence[AblationRun], variant: str) -> tuple[float, float]:
    """Return by how much the full model beats a variant on the mean of all tasks, seed by seed, with its interval."""
    totals = {(run.variant, run.seed): mean(run.scores[task] for task in HEADLINE_METRIC_BY_TASK) for run in runs}
    seeds = sorted(seed for name, seed in totals if name == variant)
    return compute_interval([totals["full", seed] - totals[variant, seed] for seed in seeds])


def render_ablation_page(runs: Sequence[AblationRun], variants: Sequence[str], about: str) -> str:
    """Return the page: shares in percent."""
    seeds = max((run.seed for run in runs), default=0)
    head = ["variant", *(f"{task} {metric}" for task, metric in HEADLINE_METRIC_BY_TASK.items()), "full is better by"]
    lines = [
        "# Ablation", "", f"{about} {seeds} seeds a variant; mean ± 95% interval (Student's t), in percent. The last "
        "column is the mean of the four against the full model's, seed by seed.", "",
        f"| {' | '.join(head)} |", f"|---|{'--:|' * (len(head) - 1)}",
    ]  # fmt: skip
    for name in variants:
        mine = [run for run in runs if run.variant == name]
        if mine:
            cells = [_shown(compute_interval([run.scores[task] for run in mine])) for task in HEADLINE_METRIC_BY_TASK]
            lines.append(
                f"| {name} | {' | '.join([*cells, '' if name == 'full' else _shown(compare_with_full(runs, name))])} |"
            )
    return "\n".join([*lines, ""])


def _shown(value: tuple[float, float]) -> str:
    return f"{100 * value[0]:.1f} ± {100 * value[1]:.1f}"
