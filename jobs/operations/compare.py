"""compare: measures how far two models agree on one date, by the nearest neighbours of a sample of products.

Neighbours are found by exact search. The vectors of both models are read from the lake, so neither has to be served.
Missing vectors are created with ``moon backfill --model``.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.errors import MoonError
from jobs.lake.store import Lake
from jobs.serving.rows import stack_vectors
from jobs.settings import Settings
from jobs.state.model_registry import describe_checkpoint
from schemas.collection import CATEGORY_SEPARATOR
from schemas.tables import CONTENT_KEY

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

COMPARED_QUERIES = 1000
"""Products whose neighbours are compared; their neighbours are looked for in the whole sample."""
COMPARED_EXAMPLES = 5
QUERY_CHUNK = 256
"""Queries searched at once: a block of similarities is CHUNK × sample × 4 bytes."""

VectorMatrix = NDArray[np.float32]


class CompareError(MoonError):
    """There is nothing to compare, or a model is not known."""


@dataclass(frozen=True)
class SharedSample:
    """The products that both models have a vector of, or a seeded sample of them.

    Attributes:
        ids, titles, categories: of N products; a category is the whole path, "" where the catalogue has none.
        vectors: of each model, float32 [N, D] (D may differ), of length 1.
        shared, unshared: numbers of products with vectors of both models, and of one model alone (per model).
    """

    ids: list[str]
    titles: list[str]
    categories: list[str]
    vectors: tuple[VectorMatrix, VectorMatrix]
    shared: int
    unshared: tuple[int, int]


def compare_models(
    spark: "SparkSession", lake: Lake, models: tuple[str, str], date: str, *, k: int, sample_size: int, seed: int
) -> dict[str, Any]:
    """Return how far the neighbours of two models agree.

    Args:
        spark, lake: session, and the lake that holds the vectors.
        models: two full model versions.
        date: snapshot date whose products are compared.
        k: number of neighbours per product.
        sample_size: maximum number of products; the vectors of both models must fit into the driver's memory.
        seed: seed of the sample; the same seed draws the same sample.

    Returns:
        A dictionary with the numbers of products, and:
        overlap: mean share of the k neighbours that both models name (1: identical), with its 10th percentile.
        first: share of products whose nearest neighbour is the same.
        same_category: per model, the share of neighbours that have the product's own category; None without
        categories. The category is part of the models' input.
        changed: the products that differ most, with both lists of neighbours and their cosines.
        typical: the same of products whose overlap is nearest to the median.

    Raises:
        CompareError: fewer than two products have vectors of both models.
    """
    taken = draw_comparison_sample(spark, lake, models, date, sample_size, seed)
    if len(taken.ids) < 2:
        raise CompareError(
            f"{taken.shared} products of {date} have vectors of both models ({taken.unshared[0]:,} of the first alone, "
            f"{taken.unshared[1]:,} of the second): `moon backfill --from {date} --to {date} --model DIR` makes the "
            "missing ones"
        )
    k = min(k, len(taken.ids) - 1)
    queries = min(COMPARED_QUERIES, len(taken.ids))
    nearest = (find_neighbours(taken.vectors[0], queries, k), find_neighbours(taken.vectors[1], queries, k))
    shares = measure_overlap(nearest[0], nearest[1])
    return {
        "date": date,
        "models": list(models),
        "products": taken.shared,
        "only_first": taken.unshared[0],
        "only_second": taken.unshared[1],
        "sample": len(taken.ids),
        "queries": len(shares),
        "k": k,
        "overlap": round(float(shares.mean()), 4),
        "overlap_p10": round(float(np.quantile(shares, 0.1)), 4),
        "first": round(float((nearest[0][:, 0] == nearest[1][:, 0]).mean()), 4),
        "same_category": [share_same_category(taken.categories, found) for found in nearest],
        "changed": _list_examples(taken, nearest, shares, _find_worst(shares)),
        "typical": _list_examples(taken, nearest, shares, _find_typical(shares)),
    }


def draw_comparison_sample(
    spark: "SparkSession", lake: Lake, models: tuple[str, str], date: str, size: int, seed: int
) -> SharedSample:
    """Return the sample; products are drawn by a hash of their id and the seed, so file order does not matter."""
    products = lake.read(spark, "products", {"date": date}).select(
        *CONTENT_KEY, "title", F.concat_ws(CATEGORY_SEPARATOR, "category").alias("category")
    )
    first, second = (
        _read_vectors(spark, lake, version, name) for version, name in zip(models, ("a", "b"), strict=True)
    )
    joined = (
        products.join(first, CONTENT_KEY, "left").join(second, CONTENT_KEY, "left").withColumn("drawn", _draw(seed))
    )
    has_a, has_b = F.col("a").isNotNull(), F.col("b").isNotNull()
    counts = joined.agg(
        F.count_if(has_a & has_b).alias("both"),
        F.count_if(has_a & ~has_b).alias("a"),
        F.count_if(~has_a & has_b).alias("b"),
    ).collect()[0]
    table: pa.Table = joined.where(has_a & has_b).orderBy("drawn", "product_id").limit(size).toArrow()
    return SharedSample(
        ids=table["product_id"].to_pylist(),
        titles=table["title"].to_pylist(),
        categories=table["category"].to_pylist(),
        vectors=(stack_vectors(table["a"]), stack_vectors(table["b"])),
        shared=counts.both,
        unshared=(counts.a, counts.b),
    )


def find_neighbours(vectors: VectorMatrix, queries: int, k: int) -> NDArray[np.int64]:
    """Return the k nearest neighbours of the first `queries` rows by inner product, without the row itself.

    Returns:
        Row numbers, nearest first, [queries, k].
    """
    found = []
    for start in range(0, queries, QUERY_CHUNK):
        rows = np.arange(start, min(start + QUERY_CHUNK, queries))
        scores = vectors[rows] @ vectors.T
        scores[np.arange(len(rows)), rows] = -np.inf
        # A stable sort keeps equal products (the same photo and text) in one order under both models.
        found.append(np.argsort(-scores, axis=1, kind="stable")[:, :k])
    return np.concatenate(found)


def measure_overlap(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the share of each row's k neighbours that both name, [queries]."""
    return np.array([len(np.intersect1d(mine, theirs)) / len(mine) for mine, theirs in zip(one, other, strict=True)])


def share_same_category(categories: list[str], found: NDArray[np.int64]) -> float | None:
    """Return the mean share of neighbours with the product's own category; products without one are left out.

    Args:
        categories: categories of all products of the sample.
        found: neighbours of the first products of the sample, [queries, k].
    """
    names = np.array(categories)
    labelled = np.flatnonzero(names[: len(found)] != "")
    if not len(labelled):
        return None
    return round(float((names[found[labelled]] == names[labelled, None]).mean()), 4)


def resolve_model_version(lake: Lake, settings: Settings, named: str) -> str:
    """Return the full version of a model named by its checkpoint's folder or by the first digits of its version.

    Raises:
        CompareError: no model of this lake matches, or several do.
    """
    if Path(named).is_dir():
        return describe_checkpoint(named, settings.detector).model_version
    known = sorted({partition["model_version"] for partition in lake.open("vectors").partitions()})
    meant = [version for version in known if version.startswith(named)] if re.fullmatch("[0-9a-f]{4,64}", named) else []
    if len(meant) == 1:
        return meant[0]
    raise CompareError(
        f"{named!r} names {len(meant)} models: give a checkpoint's folder, or four or more of the first digits of "
        f"{', '.join(version[:12] for version in known) or 'a model (this lake has no vectors yet)'}"
    )


def _read_vectors(spark: "SparkSession", lake: Lake, version: str, name: str) -> DataFrame:
    """Return one vector per product: a complete one before a partial one, then the latest."""
    vectors = lake.read(spark, "vectors", {"model_version": version})
    rank = F.struct(~F.col("partial"), "date")
    return vectors.groupBy(*CONTENT_KEY).agg(F.max_by("vector", rank).alias(name))


def _draw(seed: int) -> Any:
    return F.xxhash64(F.lit(seed), F.col("product_id"))


def _find_worst(shares: NDArray[np.float64]) -> list[int]:
    return [int(row) for row in np.argsort(shares, kind="stable")[:COMPARED_EXAMPLES] if shares[row] < 1]


def _find_typical(shares: NDArray[np.float64]) -> list[int]:
    """Return the rows nearest to the median, the first ones of the sample among equals, without the worst ones."""
    order = np.argsort(np.abs(shares - np.median(shares)), kind="stable").tolist()
    worst = _find_worst(shares)
    return [row for row in order if row not in worst][:COMPARED_EXAMPLES]


def _list_examples(
    taken: SharedSample, nearest: tuple[NDArray[np.int64], ...], shares: NDArray[np.float64], rows: Sequence[int]
) -> list[dict[str, Any]]:
    """Return products of the sample with their neighbours by both models."""

    def name(side: int, row: int) -> list[dict[str, Any]]:
        vectors = taken.vectors[side]
        return [
            {
                "product_id": taken.ids[other],
                "title": taken.titles[other],
                "score": round(float(vectors[row] @ vectors[other]), 4),
            }
            for other in nearest[side][row]
        ]

    return [
        {
            "product_id": taken.ids[row],
            "title": taken.titles[row],
            "overlap": round(float(shares[row]), 4),
            "first": name(0, row),
            "second": name(1, row),
        }
        for row in rows
    ]
