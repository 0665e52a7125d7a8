"""Measures how far the vectors of each top category have moved since an earlier run.

A category stands for the mean of its sampled vectors. Two samples of one category have different means by chance, the
more so the fewer products they have. A shift is called large if it is more than twice what chance would give even if
every sampled product had been replaced by another one of its category: then the category's content changed as a whole.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from pyspark.sql import functions as F

from jobs.pages.neighbours import ServedSample
from jobs.pages.page import render_fragment
from jobs.pages.run_record import CategoryMean, EarlierRecords, RunRecord
from jobs.state.changes import CHANGED, NEW
from jobs.state.plan_record import Plan
from jobs.state.run_context import RunContext
from schemas.tables import CONTENT_KEY

MIN_PRODUCTS = 8
"""Sampled products of a category, then and now, below which a mean says nothing."""

MAX_CATEGORIES = 30
LARGE = 2.0
"""Multiple of the shift by chance from which on a shift is large."""


@dataclass(frozen=True)
class Shift:
    """Movement of a category's mean vector.

    Attributes:
        distance: Euclidean distance of the two means; 0 is no movement, unit vectors are at most 2 apart.
        limit: distance from which on the shift is large.
    """

    distance: float
    limit: float

    @property
    def is_large(self) -> bool:
        """Whether more than chance moved the category."""
        return self.distance > self.limit


@dataclass(frozen=True)
class ChangeCounts:
    """Delivered products of a top category, and those among them that are new or have new content."""

    products: int
    new: int
    changed: int


@dataclass(frozen=True)
class CategoryDrift:
    """One line of the table of drift; None where a value is unknown."""

    name: str
    sampled: int
    counts: ChangeCounts | None
    since_last: Shift | None
    since_week: Shift | None


def measure_categories(sample: ServedSample) -> dict[str, CategoryMean]:
    """Return the mean vector of each top category of the sample, of the largest first."""
    names = np.array(sample.categories, dtype=object)
    found, sizes = np.unique(names[names != ""].astype(str), return_counts=True)
    largest = sorted(zip(found, sizes, strict=True), key=lambda one: (-one[1], one[0]))[:MAX_CATEGORIES]
    means = {str(name): sample.vectors[names == name].mean(axis=0) for name, _ in largest}
    return {name: CategoryMean(int((names == name).sum()), mean.round(5).tolist()) for name, mean in means.items()}


def measure_shift(now: CategoryMean, then: CategoryMean) -> Shift | None:
    """Return how far a category has moved; None if either mean is of too few products."""
    if min(now.products, then.products) < MIN_PRODUCTS:
        return None
    means = [np.array(one.mean) for one in (now, then)]
    # The variance of unit vectors around their mean m is 1 - |m|²; the mean of n of them has an n-th of it.
    noise = [max(0.0, 1 - float(mean @ mean)) / one.products for mean, one in zip(means, (now, then), strict=True)]
    return Shift(float(np.linalg.norm(means[0] - means[1])), LARGE * math.sqrt(sum(noise)))


def count_changes(context: RunContext, plan: Plan) -> dict[str, ChangeCounts]:
    """Return the numbers of products, new ones and changed ones by top category."""
    products = context.lake.read(context.spark, "products", context.partition).select(
        *CONTENT_KEY, F.get("category", F.lit(0)).alias("name")
    )
    changes = context.lake.read(context.spark, "changes", plan.partition).select(*CONTENT_KEY, "op")
    grouped = products.join(changes, CONTENT_KEY, "left").where("name is not null").groupBy("name")
    ops = {op: F.count_if(F.col("op") == op).alias(op) for op in (NEW, CHANGED)}
    return {
        row["name"]: ChangeCounts(row["products"], row[NEW], row[CHANGED])
        for row in grouped.agg(F.count("*").alias("products"), *ops.values()).collect()
    }


def list_drift(
    means: Mapping[str, CategoryMean], counts: Mapping[str, ChangeCounts], plan: Plan, earlier: EarlierRecords
) -> list[CategoryDrift]:
    """Return the drift of each category; vectors of another model are not compared."""

    def shift(name: str, record: RunRecord | None) -> Shift | None:
        then = record.categories.get(name) if record and record.model_version == plan.model_version else None
        return measure_shift(means[name], then) if then else None

    return [
        CategoryDrift(
            name, means[name].products, counts.get(name), shift(name, earlier.last), shift(name, earlier.week)
        )
        for name in means
    ]


def draw_drift(rows: list[CategoryDrift], plan: Plan, earlier: EarlierRecords) -> Markup:
    """Return the table of drift by category."""
    others = [one for one in (earlier.last, earlier.week) if one and one.model_version != plan.model_version]
    return render_fragment(
        "_drift.html.j2", rows=rows, last=earlier.last, week=earlier.week, has_other_model=bool(others), large=LARGE,
        min_products=MIN_PRODUCTS,
    )  # fmt: skip
