"""Products that readers see although the served date does not deliver them, brought into a collection that follows.

A product whose row was refused keeps what an earlier night served (design, "Conservation"). A collection that is filled
from the served date's products alone would lack it; here its last good row is found in the lake, whatever its date,
and brought over by the same stages as everything else.
"""

from dataclasses import replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.spark.row_counts import count_frames
from jobs.stages.runner import run_stages
from jobs.state.changes import OPS, compare_with_ledger
from jobs.state.ledger import read_ledger, read_ledger_version
from jobs.state.model_registry import ModelChoice, register_model
from jobs.state.plan_record import COUNTS, Plan, commit_changes, make_run_id
from jobs.state.run_context import RunContext
from schemas.tables import CONTENT_KEY

OUT_OF_BAND_STAGES = ("detect", "encode", "upsert")
"""What work beside a night runs, here and in `jobs.operations.catch_up`."""


def carry_over_products(context: RunContext, model: ModelChoice, served: str) -> int:
    """Bring over what a served collection holds, tonight does not deliver, and the model's own collection lacks.

    The collection's high-water date falls back to the dates of those rows meanwhile: catch it up afterwards
    (`jobs.operations.catch_up`). Done already, it changes nothing; interrupted, it continues.

    Args:
        context: the date that is served.
        model: of the collection that follows.
        served: the collection that is followed.

    Returns:
        How many products were lacking.
    """
    lacking = _find_missing(context, model, served)
    dates = {row.date: row["count"] for row in lacking.groupBy("date").count().collect()}
    for date in sorted(dates):
        past = replace(context, date=date, settings=context.settings.replace(model=model.uri))
        register_model(context.lake, model)
        plan = _freeze_carry_over_plan(past, model, served, lacking.where(F.col("date") == date).select(*CONTENT_KEY))
        run_stages(replace(past, apart=plan), OUT_OF_BAND_STAGES)
    return sum(dates.values())


def _find_missing(context: RunContext, model: ModelChoice, served: str) -> DataFrame:
    """Return product_id, content_hash and the latest date that delivered it."""
    lake, spark = context.lake, context.spark
    tonight = lake.read(spark, "products", context.partition).select("product_id")
    held = read_ledger(spark, lake, served).join(tonight, "product_id", "left_anti")
    wanted = held.join(read_ledger(spark, lake, model.collection), CONTENT_KEY, "left_anti").select(*CONTENT_KEY)
    return (
        lake.read(spark, "products")
        .join(wanted, CONTENT_KEY, "left_semi")
        .groupBy(*CONTENT_KEY)
        .agg(F.max("date").alias("date"))
    )


def _freeze_carry_over_plan(context: RunContext, model: ModelChoice, served: str, wanted: DataFrame) -> Plan:
    """Freeze one date's part of the work, or find it frozen."""
    lake, spark = context.lake, context.spark
    versions = (read_ledger_version(lake, model.collection), served, read_ledger_version(lake, served))
    inputs = f"carry-over/{model.model_version}/{'/'.join(map(str, versions))}"
    plan = Plan(
        date=context.date,
        run_id=make_run_id(context.date, inputs),
        model_version=model.model_version,
        detector_version=model.detector_version,
        collection=model.collection,
        ledger_version=versions[0],
        serve=True,
    )
    products = lake.read(spark, "products", context.partition)
    attempt = f"carry-over/{plan.run_id}"
    if not lake.is_committed("changes", attempt):
        ledger = read_ledger(spark, lake, model.collection)
        whole = lake.read(spark, "vectors", {"model_version": model.model_version}).where(~F.col("partial"))
        nobody = spark.createDataFrame([], "product_id string")
        mine = products.join(wanted, CONTENT_KEY, "left_semi")
        changes = compare_with_ledger(mine, ledger, nobody, whole, date=context.date, with_deletes=False)
        commit_changes(lake, plan, changes, attempt)
    changes = lake.read(spark, "changes", plan.partition)
    shown = F.explode(F.slice("images", 1, model.max_images))
    images = products.join(changes, CONTENT_KEY, "left_semi").select(shown)
    counts = count_frames({**{op: changes.where(F.col("op") == op) for op in OPS}, "images": images, "valid": changes})
    return replace(plan, counts={**dict.fromkeys(COUNTS, 0), **counts})
