"""Determines the outcome of every delivered row and checks that no row is lost (docs/decisions/0034-row-accounting.md).

delivered = unchanged + reused + payload + encoded + kept + quarantined + left_out. This is checked row by row against
the data in the lake and the ledger, not against the counts that stages report. A row that is merged into another one
has the outcome of their product.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.errors import NightStoppedError
from jobs.stages.merged_rows import count_roles
from jobs.state.changes import ENCODED_OPS, PAYLOAD, REUSE, SERVED_OPS
from jobs.state.ledger import get_group, get_payload_hash, read_ledger, read_ledger_head
from jobs.state.plan_record import Plan
from jobs.state.run_context import RunContext
from schemas.collection import GROUP_FIELD, PAYLOAD_HASH_FIELD, has_groups, has_payload
from schemas.tables import CONTENT_KEY, LEFT_OUT, MERGED, ROW_ROLES
from validation.reasons import Reason

UNCHANGED, REUSED, ENCODED, KEPT, QUARANTINED = "unchanged", "reused", "encoded", "kept", "quarantined"
FATES = (UNCHANGED, REUSED, PAYLOAD, ENCODED, KEPT, QUARANTINED, LEFT_OUT)
LOST, UNEXPECTED, COUNTED_TWICE, NOT_SERVED = "lost", "invented", "accounted for twice", "not served"

VIOLATION_EXAMPLES = 5

SERVED_KEY = [*CONTENT_KEY, GROUP_FIELD, PAYLOAD_HASH_FIELD]
"""In what a served product and a delivered one are the same."""


def count_fates(context: RunContext, plan: Plan) -> dict[str, int]:
    """Return the number of delivered rows by outcome.

    Returns:
        delivered, unchanged, reused, payload, encoded, kept, quarantined, left_out: numbers of rows; of payload only
        the payload was written. merged: rows among them that have the outcome of another row's product. stale: products
        that Milvus holds from an earlier date, because the row of this date was refused or their delete is held.
        partial: products encoded without one of their images.

    Raises:
        NightStoppedError: a row is lost, unexpected or has two outcomes; the message shows examples.
    """
    fates = trace_row_fates(context, plan)
    counted = fates.groupBy("fate").agg(F.count("*").alias("rows"), F.count_if("partial").alias("partial"))
    found = {row.fate: row for row in counted.collect()}
    counts = {fate: found[fate].rows if fate in found else 0 for fate in FATES}
    delivered = context.lake.count("snapshots", context.partition)
    wrong = sorted(found.keys() - set(FATES))
    if wrong or sum(counts.values()) != delivered:
        raise NightStoppedError(_describe_violation(context, plan, fates, {name: found[name].rows for name in wrong}))
    partial = found[ENCODED].partial if ENCODED in found else 0
    stale = (count_stale(context, plan) if counts[QUARANTINED] else 0) + plan.counts.held
    return {
        "delivered": delivered,
        **counts,
        "merged": count_roles(context)[MERGED],
        "stale": stale,
        "partial": partial,
    }


def trace_row_fates(context: RunContext, plan: Plan) -> DataFrame:
    """Return source_row, product_id, fate and partial of every row that was delivered or found in a later table."""
    lake, spark = context.lake, context.spark
    delivered = lake.read(spark, "snapshots", context.partition).select("source_row", F.lit(True).alias("delivered"))
    if not lake.count(ROW_ROLES.name, context.partition):
        return _trace_judged_rows(context, plan, delivered)
    roles = lake.read(spark, ROW_ROLES.name, context.partition).drop("date")
    judged = _trace_judged_rows(context, plan, delivered.join(roles, "source_row", "left_anti"))
    products = judged.select(F.col("source_row").alias("product_row"), F.col("fate").alias("product_fate"))
    fate = (
        F.when(F.col("delivered").isNull(), UNEXPECTED)
        .when(F.col("role") == LEFT_OUT, LEFT_OUT)
        .when(F.col("role") == MERGED, F.coalesce("product_fate", F.lit(LOST)))
        .otherwise(LOST)
    )
    others = roles.join(delivered, "source_row", "left").join(products, "product_row", "left")
    return judged.unionByName(
        others.select("source_row", "product_id", fate.alias("fate"), F.lit(False).alias("partial"))
    )


def _trace_judged_rows(context: RunContext, plan: Plan, delivered: DataFrame) -> DataFrame:
    """Return the columns of `trace_row_fates` for rows that are products or refused.

    Args:
        context, plan: Run context and its plan.
        delivered: source_row and delivered = True of the rows that the row rules judged.
    """
    lake, spark = context.lake, context.spark
    changes = lake.read(spark, "changes", plan.partition).where(F.col("op").isin(*SERVED_OPS))
    products = _read_products(context, plan).select("source_row", *SERVED_KEY)
    vectors = lake.read(spark, "vectors", {"model_version": plan.model_version})
    made = vectors.join(changes.select(*CONTENT_KEY), CONTENT_KEY, "left_semi").groupBy(*CONTENT_KEY)
    known = (
        products.join(changes.select("product_id", "op"), "product_id", "left")
        .join(made.agg(F.bool_and("partial").alias("partial")), CONTENT_KEY, "left")
        .withColumn("made", F.col("partial").isNotNull())
        .join(_read_served(context, plan), SERVED_KEY, "left")
    )
    joined = delivered.join(known, "source_row", "full_outer").join(_read_refused(context), "source_row", "full_outer")
    return joined.select(
        "source_row", "product_id", _fate_column().alias("fate"), F.coalesce("partial", F.lit(False)).alias("partial")
    )


def _fate_column() -> Column:
    is_product, is_refused = F.col("product_id").isNotNull(), F.col("refused_by").isNotNull()
    made, served = F.coalesce("made", F.lit(False)), F.coalesce("served", F.lit(False))
    return (
        F.when(F.col("delivered").isNull(), UNEXPECTED)
        .when(is_product & F.array_contains("refused_by", "validate"), COUNTED_TWICE)
        .when(F.col("is_kept"), KEPT)
        .when(is_refused, QUARANTINED)
        .when(~is_product, LOST)
        .when(F.col("op").isNotNull() & ~made, LOST)
        .when(~served, NOT_SERVED)
        .when(F.col("op").isNull(), UNCHANGED)
        .when(F.col("op") == REUSE, REUSED)
        .when(F.col("op") == PAYLOAD, PAYLOAD)
        .when(F.col("op").isin(*ENCODED_OPS), ENCODED)
        .otherwise(LOST)
    )


def _read_refused(context: RunContext) -> DataFrame:
    """Return source_row, the stages that refused the row, and whether its product was kept instead."""
    rows = context.lake.read(context.spark, "quarantine", context.refused).where(F.col("image_index").isNull())
    is_kept = F.bool_or(F.col("reason") == Reason.PRODUCT_KEPT)
    return rows.groupBy("source_row").agg(F.collect_set("stage").alias("refused_by"), is_kept.alias("is_kept"))


def _read_products(context: RunContext, plan: Plan) -> DataFrame:
    """Return the products of the date with group and payload hash as the collection serves them."""
    return _blank_unserved(plan, context.lake.read(context.spark, "products", context.partition))


def _blank_unserved(plan: Plan, rows: DataFrame) -> DataFrame:
    """Return rows of `products` or of a ledger; group and payload hash are empty if the collection lacks the field."""
    columns = {
        GROUP_FIELD: get_group() if has_groups(plan.collection) else F.lit(""),
        PAYLOAD_HASH_FIELD: get_payload_hash() if has_payload(plan.collection) else F.lit(""),
    }
    return rows.withColumns(columns)


def _read_served(context: RunContext, plan: Plan) -> DataFrame:
    """Return the columns of `SERVED_KEY` and served = True of the rows in the ledger.

    A plan that serves nothing, or a ledger that later runs have written, cannot be compared with this run. Then every
    product counts as served.
    """
    if not _can_compare(context, plan):
        return _read_products(context, plan).select(*SERVED_KEY, F.lit(True).alias("served"))
    ledger = _blank_unserved(plan, read_ledger(context.spark, context.lake, plan.collection))
    return ledger.select(*SERVED_KEY, F.lit(True).alias("served"))


def _can_compare(context: RunContext, plan: Plan) -> bool:
    written_since = read_ledger_head(context.lake, plan.collection).version - plan.ledger_version
    return plan.serve and written_since <= 1


def count_stale(context: RunContext, plan: Plan) -> int:
    """Return the number of products that Milvus holds from an earlier date because this date's row was refused."""
    if not _can_compare(context, plan):
        return 0
    ledger = read_ledger(context.spark, context.lake, plan.collection)
    is_row = F.col("image_index").isNull() & (F.col("reason") != Reason.PRODUCT_KEPT)
    refused = context.lake.read(context.spark, "quarantine", context.refused).where(is_row)
    products = context.lake.read(context.spark, "products", context.partition)
    good = products.join(_read_refused(context), "source_row", "left_anti")
    held = ledger.join(refused.select("product_id").distinct(), "product_id", "left_semi")
    return held.join(good, "product_id", "left_anti").count()


def _describe_violation(context: RunContext, plan: Plan, fates: DataFrame, wrong: dict[str, int]) -> str:
    """Return a message that names the wrong counts and example rows."""
    examples = fates.where(~F.col("fate").isin(*FATES)).orderBy("source_row").limit(VIOLATION_EXAMPLES).collect()
    numbers = ", ".join(f"{count:,} {name}" for name, count in wrong.items()) or "rows in two places"
    shown = "; ".join(f"row {row.source_row} ({row.product_id}) {row.fate}" for row in examples)
    return (
        f"CONSERVATION VIOLATED on {context.date}, run {plan.run_id}: of the delivered rows, {numbers}. {shown}. The "
        "collection may lack products: run the night again, and keep this lake for a bug report if it comes back"
    )
