"""Re-embeds a past snapshot: its products become vectors of a model that need not be the served one.

Nothing is served and no plan of a night is touched: the work is a `Plan` of its own, kept beside the night
(`Night.apart`), that detect and encode work off like any other.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.operations.row_filter import matching
from jobs.spark.row_counts import count_rows
from jobs.stages.runner import Outcome, run_stages
from jobs.state.changes import NEW
from jobs.state.model_registry import ModelChoice, register_model
from jobs.state.plan_record import COUNTS, Plan, commit_changes, run_name
from jobs.state.run_context import Night
from schemas.tables import CONTENT_KEY


@dataclass(frozen=True)
class Part:
    """One of several parts of a snapshot, cut by a hash of the product's id."""

    number: int
    of: int

    def of_products(self, products: DataFrame) -> DataFrame:
        """Return the products of this part."""
        return products.where(F.pmod(F.xxhash64("product_id"), F.lit(self.of)) == self.number)


WHOLE = Part(0, 1)


def reembed(night: Night, model: ModelChoice, expression: str = "", part: Part = WHOLE) -> Outcome:
    """Make the vectors of one snapshot date that the model does not have yet.

    Interrupted, it continues: what is to be done is frozen first, and each stage ends with one commit.

    Args:
        night: a date whose products are validated.
        model: whose vectors are made.
        expression: see `jobs.operations.row_filter`; empty takes every product.
        part: of the snapshot.
    """
    register_model(night.lake, model)
    return run_stages(replace(night, apart=frozen(night, model, expression, part)), ("detect", "encode"))


def reembed_in_parts(night: Night, model: ModelChoice, products_each: int) -> Iterator[tuple[Part, Outcome]]:
    """Make the vectors of a whole snapshot part by part, so that a killed run has lost one part at most.

    Args:
        night, model: as for `reembed`.
        products_each: about so many products a part; parts that are done are found committed.
    """
    delivered = night.lake.count("products", night.partition)
    parts = max(1, -(-delivered // products_each))
    for number in range(parts):
        part = Part(number, parts)
        if not is_done(night, model, "", part):
            yield part, reembed(night, model, part=part)


def frozen(night: Night, model: ModelChoice, expression: str, part: Part = WHOLE) -> Plan:
    """Freeze which products are encoded, or find it frozen: one snapshot, model, expression and part are one work."""
    plan = Plan(
        date=night.date,
        run_id=_run_id(night, model, expression, part),
        model_version=model.model_version,
        detector_version=model.detector_version,
        collection=model.collection,
        ledger_version=0,
        serve=False,
    )
    attempt = f"reembed/{plan.run_id}"
    if not night.lake.done("changes", attempt):
        products = part.of_products(night.lake.read(night.spark, "products", night.partition))
        wanted = without_vector(night, products, model, expression).withColumn("op", F.lit(NEW))
        commit_changes(night.lake, plan, wanted, attempt)
    changes = night.lake.read(night.spark, "changes", plan.partition)
    products = night.lake.read(night.spark, "products", night.partition).join(changes, CONTENT_KEY, "left_semi")
    images = products.select(F.explode(F.slice("images", 1, model.max_images)))
    counts = count_rows({"new": changes, "images": images})
    return replace(plan, counts={**dict.fromkeys(COUNTS, 0), **counts})


def is_done(night: Night, model: ModelChoice, expression: str, part: Part = WHOLE) -> bool:
    """Return whether this very work was brought to its end; products that were refused have no vector even so."""
    return night.lake.done("vectors", f"encode/{_run_id(night, model, expression, part)}")


def _run_id(night: Night, model: ModelChoice, expression: str, part: Part) -> str:
    validated = night.lake.transaction_version("products", f"scope:date={night.date}")
    inputs = f"reembed/{validated}/{model.model_version}/{expression}"
    if part != WHOLE:
        inputs += f"/{part.number}/{part.of}"
    return run_name(night.date, inputs)


def without_vector(night: Night, products: DataFrame, model: ModelChoice, expression: str = "") -> DataFrame:
    """Return the products that an expression takes and that have no whole vector of the model."""
    vectors = night.lake.read(night.spark, "vectors", {"model_version": model.model_version})
    return matching(products, expression).join(vectors.where(~F.col("partial")), CONTENT_KEY, "left_anti")
