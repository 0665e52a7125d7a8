"""Re-embeds a past snapshot: encodes its products with a model that need not be the served one.

Nothing is served and no nightly plan is changed. The work is an out-of-band `Plan`, which the stages detect and encode
process like any other plan.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.operations.row_filter import filter_products
from jobs.stages.runner import RunOutcome, run_stages
from jobs.state.changes import NEW
from jobs.state.model_registry import ModelChoice, register_model
from jobs.state.plan_record import Plan, freeze_plan, make_out_of_band_purpose, make_plan, make_run_id
from jobs.state.run_context import RunContext
from schemas.tables import CONTENT_KEY


@dataclass(frozen=True)
class SnapshotPart:
    """One of several parts of a snapshot, split by a hash of the product id."""

    number: int
    of: int

    def select_products(self, products: DataFrame) -> DataFrame:
        """Return the products of this part."""
        return products.where(F.pmod(F.xxhash64("product_id"), F.lit(self.of)) == self.number)


WHOLE_SNAPSHOT = SnapshotPart(0, 1)


def reembed(
    context: RunContext, model: ModelChoice, expression: str = "", part: SnapshotPart = WHOLE_SNAPSHOT
) -> RunOutcome:
    """Encode the products of one snapshot date that have no vector of the model yet.

    The plan is frozen first and the stages commit what is done, so an interrupted call continues when it is repeated.

    Args:
        context: a date whose products are validated.
        model: the model that encodes.
        expression: row filter, see `jobs.operations.row_filter`; empty takes every product.
        part: the part of the snapshot to encode.
    """
    register_model(context.lake, model)
    return run_stages(context, ("detect", "encode"), freeze_reembedding(context, model, expression, part))


def reembed_in_parts(
    context: RunContext, model: ModelChoice, products_per_part: int
) -> Iterator[tuple[SnapshotPart, RunOutcome]]:
    """Encode a whole snapshot part by part, so that a killed run loses one part at most.

    Args:
        context, model: as for `reembed`.
        products_per_part: approximate number of products of a part; parts that are committed already are skipped.
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
    """Return the frozen plan of the products to encode; one per snapshot, model, expression and part."""
    purpose = make_out_of_band_purpose(model.model_version)
    inputs = _describe_inputs(context, model, expression, part)
    plan = make_plan(context.date, model, inputs, ledger_version=0, serve=False, purpose=purpose)

    def select() -> DataFrame:
        products = part.select_products(context.lake.read(context.spark, "products", context.partition))
        return select_without_vector(context, products, model, expression).withColumn("op", F.lit(NEW))

    return freeze_plan(context, plan, f"reembed/{plan.run_id}", select, max_images=model.max_images)


def is_reembedded(
    context: RunContext, model: ModelChoice, expression: str, part: SnapshotPart = WHOLE_SNAPSHOT
) -> bool:
    """Return whether this plan was completed; products that were refused have no vector all the same."""
    run_id = make_run_id(context.date, _describe_inputs(context, model, expression, part))
    return context.lake.is_committed("vectors", f"encode/{run_id}")


def _describe_inputs(context: RunContext, model: ModelChoice, expression: str, part: SnapshotPart) -> str:
    validated = context.lake.read_partition_version("products", context.partition)
    inputs = f"reembed/{validated}/{model.model_version}/{expression}"
    if part != WHOLE_SNAPSHOT:
        inputs += f"/{part.number}/{part.of}"
    return inputs


def select_without_vector(
    context: RunContext, products: DataFrame, model: ModelChoice, expression: str = ""
) -> DataFrame:
    """Return the products that match an expression and have no complete vector of the model."""
    vectors = context.lake.read(context.spark, "vectors", {"model_version": model.model_version})
    return filter_products(products, expression).join(vectors.where(~F.col("partial")), CONTENT_KEY, "left_anti")
