"""Re-embeds a past snapshot: its products become vectors of a model that need not be the served one.

Nothing is served and no plan of a night is touched: the work is a `Plan` of its own, kept beside the night
(`RunContext.apart`), that detect and encode work off like any other.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.operations.row_filter import filter_products
from jobs.spark.row_counts import count_frames
from jobs.stages.runner import RunOutcome, run_stages
from jobs.state.changes import NEW
from jobs.state.model_registry import ModelChoice, register_model
from jobs.state.plan_record import COUNTS, Plan, commit_changes, make_run_id
from jobs.state.run_context import RunContext
from schemas.tables import CONTENT_KEY


@dataclass(frozen=True)
class SnapshotPart:
    """One of several parts of a snapshot, cut by a hash of the product's id."""

    number: int
    of: int

    def select_products(self, products: DataFrame) -> DataFrame:
        """Return the products of this part."""
        return products.where(F.pmod(F.xxhash64("product_id"), F.lit(self.of)) == self.number)


WHOLE_SNAPSHOT = SnapshotPart(0, 1)


def reembed(
    context: RunContext, model: ModelChoice, expression: str = "", part: SnapshotPart = WHOLE_SNAPSHOT
) -> RunOutcome:
    """Make the vectors of one snapshot date that the model does not have yet.

    Interrupted, it continues: what is to be done is frozen first, and each stage ends with one commit.

    Args:
        context: a date whose products are validated.
        model: whose vectors are made.
        expression: see `jobs.operations.row_filter`; empty takes every product.
        part: of the snapshot.
    """
    register_model(context.lake, model)
    return run_stages(
        replace(context, apart=freeze_reembedding(context, model, expression, part)), ("detect", "encode")
    )


def reembed_in_parts(
    context: RunContext, model: ModelChoice, products_per_part: int
) -> Iterator[tuple[SnapshotPart, RunOutcome]]:
    """Make the vectors of a whole snapshot part by part, so that a killed run has lost one part at most.

    Args:
        context, model: as for `reembed`.
        products_per_part: about so many products a part; parts that are done are found committed.
    """
    delivered = context.lake.count("products", context.partition)
    parts = max(1, -(-delivered // products_per_part))
    for number in range(parts):
        part = SnapshotPart(number, parts)
        if not is_reembedded(context, model, "", part):
            yield part, reembed(context, model, part=part)


def freeze_reembedding(
    context: RunContext, model: ModelChoice, expression: str, part: SnapshotPart = WHOLE_SNAPSHOT
) -> Plan:
    """Freeze which products are encoded, or find it frozen: one snapshot, model, expression and part are one work."""
    plan = Plan(
        date=context.date,
        run_id=_run_id(context, model, expression, part),
        model_version=model.model_version,
        detector_version=model.detector_version,
        collection=model.collection,
        ledger_version=0,
        serve=False,
    )
    attempt = f"reembed/{plan.run_id}"
    if not context.lake.is_committed("changes", attempt):
        products = part.select_products(context.lake.read(context.spark, "products", context.partition))
        wanted = select_without_vector(context, products, model, expression).withColumn("op", F.lit(NEW))
        commit_changes(context.lake, plan, wanted, attempt)
    changes = context.lake.read(context.spark, "changes", plan.partition)
    products = context.lake.read(context.spark, "products", context.partition).join(changes, CONTENT_KEY, "left_semi")
    images = products.select(F.explode(F.slice("images", 1, model.max_images)))
    counts = count_frames({"new": changes, "images": images})
    return replace(plan, counts={**dict.fromkeys(COUNTS, 0), **counts})


def is_reembedded(
    context: RunContext, model: ModelChoice, expression: str, part: SnapshotPart = WHOLE_SNAPSHOT
) -> bool:
    """Return whether this very work was brought to its end; products that were refused have no vector even so."""
    return context.lake.is_committed("vectors", f"encode/{_run_id(context, model, expression, part)}")


def _run_id(context: RunContext, model: ModelChoice, expression: str, part: SnapshotPart) -> str:
    validated = context.lake.read_transaction_version("products", f"scope:date={context.date}")
    inputs = f"reembed/{validated}/{model.model_version}/{expression}"
    if part != WHOLE_SNAPSHOT:
        inputs += f"/{part.number}/{part.of}"
    return make_run_id(context.date, inputs)


def select_without_vector(
    context: RunContext, products: DataFrame, model: ModelChoice, expression: str = ""
) -> DataFrame:
    """Return the products that an expression takes and that have no whole vector of the model."""
    vectors = context.lake.read(context.spark, "vectors", {"model_version": model.model_version})
    return filter_products(products, expression).join(vectors.where(~F.col("partial")), CONTENT_KEY, "left_anti")
