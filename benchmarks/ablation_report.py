"""The ablation's result page: means over seeds with 95% intervals (Student's t), and what each change loses."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from scipy import stats

HEADLINE_METRIC_BY_TASK = {
    "text → item": "hit@1",
    "image → item": "R@1",
    "image and text → item": "R@1",
    "image → other images": "R@1",
}
"""The reported metric of each task of the demo shop."""


@dataclass(frozen=True)
class AblationRun:
    """The result of one training run.

    Attributes:
        variant: name of the variant.
        seed: seed of the run.
        scores: share of correct answers by task (`HEADLINE_METRIC_BY_TASK`).
        seconds: time of the training.
    """

    variant: str
    seed: int
    scores: dict[str, float]
    seconds: float


def read_runs(path: Path) -> list[AblationRun]:
    """Return the runs of a file of JSON lines; none if the file is missing."""
    return [AblationRun(**json.loads(line)) for line in path.read_text().splitlines()] if path.is_file() else []


def compute_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean of values and the half width of its 95% interval (0 for a single value)."""
    if len(values) == 1:
        return values[0], 0.0
    quantile = float(stats.t.ppf(0.975, len(values) - 1))
    return mean(values), quantile * stdev(values) / len(values) ** 0.5


def compare_with_full(runs: Sequence[AblationRun], variant: str) -> tuple[float, float]:
    """Return the mean difference of the scores (full model minus variant, at equal seeds) and its interval."""
    totals = {(run.variant, run.seed): mean(run.scores[task] for task in HEADLINE_METRIC_BY_TASK) for run in runs}
    seeds = sorted(seed for name, seed in totals if name == variant)
    return compute_interval([totals["full", seed] - totals[variant, seed] for seed in seeds])


def render_ablation_page(runs: Sequence[AblationRun], variants: Sequence[str], about: str) -> str:
    """Return the page in Markdown, with shares in percent."""
    seeds = max((run.seed for run in runs), default=0)
    head = ["variant", *(f"{task} {metric}" for task, metric in HEADLINE_METRIC_BY_TASK.items()), "full is better by"]
    lines = [
        "# Ablation", "", f"{about} {seeds} seeds a variant; mean ± 95% interval (Student's t), in percent. The last "
        "column is the mean of the four against the full model's, seed by seed.", "",
        f"| {' | '.join(head)} |", f"|---|{'--:|' * (len(head) - 1)}",
    ]  # fmt: skip
    for name in variants:
        own = [run for run in runs if run.variant == name]
        if own:
            cells = [_format(compute_interval([run.scores[task] for run in own])) for task in HEADLINE_METRIC_BY_TASK]
            difference = "" if name == "full" else _format(compare_with_full(runs, name))
            lines.append(f"| {' | '.join([name, *cells, difference])} |")
    return "\n".join([*lines, ""])


def _format(value: tuple[float, float]) -> str:
    return f"{100 * value[0]:.1f} ± {100 * value[1]:.1f}"
