"""Copies products that are served from an earlier date into a collection that catches up with the served one.

A product whose row was refused keeps the row that an earlier run served (docs/decisions/0009-catch-up-rules.md). A
collection that is filled only from the products of the served date would lack it. This module finds the product's last
good row in the lake, whatever its date, and writes it through the same stages as all other rows.
"""

from dataclasses import replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.stages.runner import OUT_OF_BAND_STAGES, run_stages
from jobs.state.changes import compare_with_ledger
from jobs.state.ledger import get_group, get_payload_hash, read_ledger, read_ledger_head
from jobs.state.model_registry import ModelChoice, register_model
from jobs.state.plan_record import Plan, freeze_plan, make_out_of_band_purpose, make_plan
from jobs.state.run_context import RunContext
from schemas.collection import GROUP_FIELD, PAYLOAD_HASH_FIELD, has_groups, has_payload
from schemas.tables import CONTENT_KEY


def carry_over_products(context: RunContext, model: ModelChoice, served: str) -> int:
    """Copy served products that the served date does not deliver into the model's collection; return their number.

    This lowers the collection's high-water date to the dates of those rows: catch it up afterwards
    (`jobs.operations.catch_up`). A second call changes nothing; an interrupted call continues when it is repeated.

    Args:
        context: the date that is served.
        model: the model of the collection that catches up.
        served: the served collection.

    Returns:
        The number of products that the model's collection lacked.
    """
    lacking = _find_missing(context, model, served)
    dates = {row.date: row["count"] for row in lacking.groupBy("date").count().collect()}
    for date in sorted(dates):
        past = replace(context, date=date, settings=context.settings.replace(model=model.uri, detector=model.detector))
        register_model(context.lake, model)
        plan = _freeze_carry_over_plan(past, model, served, lacking.where(F.col("date") == date).select(*CONTENT_KEY))
        run_stages(past, OUT_OF_BAND_STAGES, plan)
    return sum(dates.values())


def _find_missing(context: RunContext, model: ModelChoice, served: str) -> DataFrame:
    """Return product_id, content_hash and the latest date that delivered it, if possible as it is served."""
    lake, spark = context.lake, context.spark
    both = (served, model.collection)
    key = [*CONTENT_KEY, *([GROUP_FIELD] if all(map(has_groups, both)) else [])]
    key += [PAYLOAD_HASH_FIELD] if all(map(has_payload, both)) else []
    columns = {GROUP_FIELD: get_group(), PAYLOAD_HASH_FIELD: get_payload_hash()}
    products = lake.read(spark, "products").withColumns(columns)
    delivered = lake.read(spark, "products", context.partition).select("product_id")
    held = read_ledger(spark, lake, served).join(delivered, "product_id", "left_anti")
    lacking = held.join(read_ledger(spark, lake, model.collection), key, "left_anti")
    wanted = lacking.select(
        *CONTENT_KEY, F.col(GROUP_FIELD).alias("wanted"), F.col(PAYLOAD_HASH_FIELD).alias("wanted_payload")
    )
    is_served = (F.col(GROUP_FIELD) == F.col("wanted"), F.col(PAYLOAD_HASH_FIELD) == F.col("wanted_payload"))
    best = F.max_by("date", F.struct(*is_served, "date"))
    return products.join(wanted, CONTENT_KEY).groupBy(*CONTENT_KEY).agg(best.alias("date"))


def _freeze_carry_over_plan(context: RunContext, model: ModelChoice, served: str, wanted: DataFrame) -> Plan:
    """Return the frozen plan of the products that are copied from one date."""
    lake, spark = context.lake, context.spark
    own_version = read_ledger_head(lake, model.collection).version
    served_version = read_ledger_head(lake, served).version
    inputs = f"carry-over/{model.model_version}/{own_version}/{served}/{served_version}"
    purpose = make_out_of_band_purpose(model.model_version)
    plan = make_plan(context.date, model, inputs, ledger_version=own_version, serve=True, purpose=purpose)

    def compare() -> DataFrame:
        products = lake.read(spark, "products", context.partition).join(wanted, CONTENT_KEY, "left_semi")
        ledger = read_ledger(spark, lake, model.collection)
        whole = lake.read(spark, "vectors", {"model_version": model.model_version}).where(~F.col("partial"))
        no_refusals = spark.createDataFrame([], "product_id string")
        return compare_with_ledger(
            products,
            ledger,
            no_refusals,
            whole,
            date=context.date,
            with_deletes=False,
            with_groups=has_groups(model.collection),
            with_payload=has_payload(model.collection),
        )

    return freeze_plan(context, plan, f"carry-over/{plan.run_id}", compare, max_images=model.max_images)
