"""The queries of the hybrid search benchmark, and its judgement."""

import csv
from pathlib import Path

import benchmarks.hybrid_search as benchmark

PRODUCTS = [
    {"product_id": name, "title": title, "category": ["Outdoor", "Climbing"], "attributes": attributes}
    for name, title, attributes in [
        ("1", "Apex Harness", [("Brand", "Legend"), ("size", "M")]),
        ("2", "Apex Harness", [("Brand", "Legend"), ("size", "L")]),
        ("3", "Ice Axe", [("Brand", "Legend"), ("size", "L")]),
    ]
]


def test_queries_name_the_products_that_answer_them() -> None:
    queries = list(benchmark.make_queries("eshop", PRODUCTS))
    assert [(query.text, set(query.wanted)) for query in queries if query.kind == "name"] == [
        ("Apex Harness", {"1", "2"}),
        ("Ice Axe", {"3"}),
    ]
    assert [(query.text, set(query.wanted)) for query in queries if query.kind == "brand_size"] == [
        ("Legend L", {"2", "3"}),
        ("Legend M", {"1"}),
    ]
    vague = {query.text: set(query.wanted) for query in queries if query.kind == "vague"}
    assert vague["tie in safely at the crag"] == {"1", "2"} and vague["tool for frozen waterfalls"] == {"3"}
    assert "holdall" not in vague, "no product of this shop answers it"


def test_the_vague_queries_are_different_and_many() -> None:
    path = Path(benchmark.__file__).with_name("vague_queries.tsv")
    with path.open(encoding="utf-8", newline="") as file:
        queries = [row["query"] for row in csv.DictReader(file, delimiter="\t")]
    assert len(set(queries)) == len(queries) >= 100


def make_rows(**gains: float) -> list[dict[str, object]]:
    """Return a query of each kind whose first hit counts 0.5 by vectors and more by both."""
    return [
        {"shop": "demo", "kind": kind, "dense": (0.5, 0.5), "milvus": (0.5, 0.5), "hybrid": (0.5 + gain, 0.5)}
        for kind, gain in gains.items()
    ]


def test_requirements() -> None:
    assert benchmark.find_failures(make_rows(sku=0.46, name=-0.005, brand_size=0.16, vague=-0.01)) == []
    failures = benchmark.find_failures(make_rows(sku=0.44, name=-0.02, brand_size=0.1, vague=-0.03))
    assert failures == ["name: -2.0 points", "brand_size: +10.0 points", "vague: -3.0 points", "sku: 94.0%"]
    report = benchmark.write_report({"rows": benchmark.summarise(make_rows(sku=0.5)), "failures": [], "machine": "m"})
    assert "| demo | sku | 1 | 50.0 / 50.0 | 50.0 / 50.0 | 100.0 / 50.0 | +50.0 (+50.0 to +50.0) |" in report
