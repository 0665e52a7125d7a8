"""A run scores every task with every embedder, and embeds each sequence of products once."""

import json

import pytest

from moon_model.evaluation.run import run_benchmarks
from moon_model.evaluation.tasks import Benchmark, LabellingTask, RetrievalTask
from moon_model.product import Product
from tests.moon_model.evaluation.one_hot import OneHotEmbedder

ITEMS = [Product(str(number), f"item {number}") for number in range(10)]
QUERIES = [Product(f"q{number}", f"query {number}") for number in range(10)]
LABELS = [Product(f"label {name}", name) for name in ("even", "odd")]
PARITY = ["even", "odd"] * 5
FINDING = [
    RetrievalTask("first", QUERIES, ITEMS, [frozenset({number}) for number in range(10)]),
    RetrievalTask("second", QUERIES[:4], ITEMS, [frozenset({number}) for number in range(4)]),
]


class Counting(OneHotEmbedder):
    """Finds the first six items, and records its calls."""

    def __init__(self, name: str) -> None:
        axes = {f"q{number}": number if number < 6 else 9 - number for number in range(10)}
        super().__init__(axes | {str(number): number for number in range(10)} | {"label even": 0, "label odd": 1}, 10)
        self.name = name
        self.calls = []

    def embed(self, products, texts):
        self.calls.append((tuple(one.id for one in products), tuple(one.id for one in texts)))
        return super().embed(products, texts)


@pytest.fixture
def embedder():
    return Counting("MOON")


@pytest.fixture
def found(embedder):
    benchmarks = [
        Benchmark("shop", FINDING, {"products": 10}),
        Benchmark("labels", [LabellingTask("parity", ITEMS, PARITY, LABELS)], {"seed": 3}),
    ]
    return run_benchmarks(benchmarks, [embedder, Counting("other")], model_version="m" * 64, seed=1)


def test_every_figure_is_there_once(found):
    keys = [(row.benchmark, row.task, row.metric, row.embedder) for row in found.rows]
    assert len(set(keys)) == len(keys) == 2 * (3 + 3 + 4)
    by = {(row.task, row.metric): row for row in found.rows if row.embedder == "MOON"}
    first = by["first", "R@1"]
    assert (first.mean, first.count) == (0.6, 10)
    assert 0 < first.low < 0.6 < first.high < 1
    assert (by["second", "R@1"].mean, by["second", "R@1"].count) == (1, 4)
    macro = by["parity", "macro f1"]
    assert macro.low == macro.mean == macro.high
    assert macro.count == 1
    assert by["parity", "accuracy"].count == 10


def test_the_same_products_are_embedded_once(found, embedder):
    assert len(embedder.calls) == len(set(embedder.calls))
    items = tuple(one.id for one in ITEMS)
    assert [texts for products, texts in embedder.calls if products == items] == [
        items, (*items, "label even", "label odd"),
    ]  # fmt: skip


def test_the_document_says_what_was_measured_with_what(found):
    document = json.loads(json.dumps(found.to_document()))
    assert document["model_version"] == "m" * 64
    assert document["seed"] == 1
    assert [one["name"] for one in document["benchmarks"]] == ["shop", "labels"]
    assert document["benchmarks"][1]["seed"] == 3
    assert document["benchmarks"][0]["digest"] == Benchmark("shop", FINDING).compute_digest()
    assert set(document["environment"]) == {"torch", "transformers", "python", "machine"}
    assert document["created"].endswith("+00:00")
    assert len(document["rows"]) == len(found.rows)


def test_the_seed_decides_the_intervals_and_nothing_else():
    many = Benchmark("b", [RetrievalTask("t", QUERIES * 9, ITEMS, [frozenset({number}) for number in range(10)] * 9)])
    runs = [run_benchmarks([many], [Counting("x")], model_version="m", seed=seed).rows for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
    assert [row.mean for row in runs[0]] == [row.mean for row in runs[2]]
