"""Runs benchmarks: the metrics of each task and embedder as means with bootstrap intervals."""

import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import torch
import transformers
from rich.progress import track

from moon_model.evaluation.baselines import Embedder
from moon_model.evaluation.metrics import Floats, bootstrap_mean
from moon_model.evaluation.tasks import Benchmark, Products, Task


@dataclass(frozen=True)
class MetricRow:
    """One metric of one task for one embedder: mean, bootstrap 95% interval and number of queries.

    A macro average is one value over all products: it has no interval (low = mean = high, count 1).
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
    """The result of a run: metrics, data sets, model and versions.

    Attributes:
        model_version: version of the model in the column MOON.
        seed: seed of the intervals and of drawn data.
        benchmarks: name, digest and facts of each data set.
        rows: the metrics.
        created: time in UTC, ISO 8601.
        environment: versions that the metrics may depend on.
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

    def to_document(self) -> dict[str, Any]:
        """Return the evaluation as a JSON object."""
        return asdict(self)


def run_benchmarks(
    benchmarks: Sequence[Benchmark],
    embedders: Sequence[Embedder],
    *,
    model_version: str,
    seed: int,
    progress: bool = False,
) -> Evaluation:
    """Return the metrics of every task with every embedder.

    Args:
        benchmarks: the data sets with their tasks.
        embedders: the columns of the report.
        model_version: version of the model under test.
        seed: seed of the bootstrap.
        progress: whether to show a progress bar.
    """
    work = [(benchmark, embedder) for benchmark in benchmarks for embedder in embedders]
    rows = [
        row
        for benchmark, embedder in track(work, "evaluating", disable=not progress)
        for row in _score_tasks(benchmark, embedder, seed)
    ]
    described = [{"name": one.name, "digest": one.compute_digest(), **one.about} for one in benchmarks]
    return Evaluation(model_version, seed, described, rows)


def _score_tasks(benchmark: Benchmark, embedder: Embedder, seed: int) -> Iterator[MetricRow]:
    """Yield the metrics of all tasks of a benchmark; products that tasks share are embedded once."""
    vectors: dict[tuple[int, int], Floats] = {}  # by identity of the sequences, which the benchmark keeps alive

    def embed(task: Task, products: Products) -> Floats:
        key = (id(products), id(task.texts))
        if key not in vectors:
            vectors[key] = embedder.embed(products, task.texts)
        return vectors[key]

    for task in benchmark.tasks:
        for metric, values in task.score(partial(embed, task)):
            estimate = bootstrap_mean(values, seed=seed)
            yield MetricRow(benchmark.name, task.name, metric, embedder.name, **asdict(estimate))
