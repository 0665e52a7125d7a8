"""Runs benchmarks: every task with every embedder, means with bootstrap intervals."""

import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import torch
import transformers
from rich.progress import track

from moon_model.evaluation.baselines import Embedder
from moon_model.evaluation.metrics import Floats, bootstrap_mean
from moon_model.evaluation.tasks import Benchmark, Products, Task


@dataclass(frozen=True)
class MetricRow:
    """One metric of one task for one embedder: mean, bootstrap 95% interval and number of queries behind it.

    Macro averages are one value over all products; they have no interval (low = mean = high, count 1).
    """

    benchmark: str
    task: str
    metric: str
    embedder: str
    mean: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Evaluation:
    """What was measured, on what, with what.

    Attributes:
        model_version: of the model in the column MOON.
        seed: of intervals and of what was drawn.
        benchmarks: name, digest and facts of each.
        rows: the figures.
        created: UTC.
        environment: versions that figures may depend on.
    """

    model_version: str
    seed: int
    benchmarks: Sequence[dict[str, Any]]
    rows: Sequence[MetricRow]
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    environment: dict[str, str] = field(
        default_factory=lambda: {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
        }
    )

    def document(self) -> dict[str, Any]:
        """Return all of it as JSON holds it."""
        return asdict(self)


def run_benchmarks(
    benchmarks: Sequence[Benchmark],
    embedders: Sequence[Embedder],
    *,
    model_version: str,
    seed: int,
    progress: bool = False,
) -> Evaluation:
    """Run all tasks.

    Args:
        benchmarks: each with its tasks.
        embedders: each a column of the report.
        model_version: of the model under test.
        seed: of the bootstrap.
        progress: show a bar on stderr.
    """
    work = [(benchmark, embedder) for benchmark in benchmarks for embedder in embedders]
    rows = [
        row
        for benchmark, embedder in track(work, "evaluating", disable=not progress)
        for row in _rows(benchmark, embedder, seed)
    ]
    described = [{"name": one.name, "digest": one.digest(), **one.about} for one in benchmarks]
    return Evaluation(model_version, seed, described, rows)


def _rows(benchmark: Benchmark, embedder: Embedder, seed: int) -> Iterable[MetricRow]:
    kept: dict[tuple[int, int], Floats] = {}
    """Vectors by identity of the sequences, which the benchmark keeps alive."""

    def embed_for(task: Task) -> Any:
        def embed(products: Products) -> Floats:
            key = (id(products), id(task.texts))
            if key not in kept:
                kept[key] = embedder.embed(products, task.texts)
            return kept[key]

        return embed

    for task in benchmark.tasks:
        for metric, values in task.score(embed_for(task)):
            found = bootstrap_mean(values, seed=seed)
            yield MetricRow(benchmark.name, task.name, metric, embedder.name, **asdict(found))
