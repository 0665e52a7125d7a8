"""Keeps complete vectors of products whose photos cannot be reached, so that a failing image host removes nothing.

A product with a complete vector whose encoding would now lack a photo is kept. It stays as it is served, is counted
as "kept" and is tried again on the next date. Source: docs/decisions/0040-kept-products.md.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.images.fetch_task import GONE_NIGHTS
from jobs.lake.writing import AddedFile
from jobs.serving.rows import read_changes
from jobs.state.changes import ENCODED_OPS
from jobs.state.ledger import read_ledger
from jobs.state.plan_record import Plan, list_earlier_plans
from jobs.state.run_context import RunContext
from schemas.tables import CONTENT_KEY, QUARANTINE, VECTORS
from validation.reasons import UNREACHED, Reason

TEXT_COLUMNS = ("title", "description", "category", "attributes")


def count_unreached_images(context: RunContext, files: list[AddedFile]) -> int:
    """Return the number of images that new quarantine files record as unreachable or missing."""
    rows = context.lake.read_written(context.spark, QUARANTINE.name, files)
    return rows.where(F.col("reason").isin(*UNREACHED)).count() if files else 0


def keep_products(context: RunContext, plan: Plan, files: dict[str, list[AddedFile]]) -> dict[str, list[AddedFile]]:
    """Return the files of an encoding, in which products to be kept have a "kept" row instead of a refusal.

    Args:
        context: run context.
        plan: the nightly plan; a plan that serves nothing keeps nothing.
        files: files of `quarantine` and `vectors` that the tasks wrote; not committed yet.
    """
    detect_partition = context.quarantine_partition("detect")
    has_failed = bool(files.get("quarantine")) or context.lake.count(QUARANTINE.name, detect_partition) > 0
    if not has_failed or not plan.serve or plan.is_out_of_band:
        return files
    new_rows = context.lake.read_written(context.spark, QUARANTINE.name, files.get("quarantine", []))
    detected = context.lake.read(context.spark, QUARANTINE.name, detect_partition)
    failed = new_rows.unionByName(detected.select(*new_rows.columns))
    kept = _select_kept(context, plan, failed.where(F.col("reason").isin(*UNREACHED))).persist()
    try:
        if kept.isEmpty():
            return files
        ids = kept.select("product_id")
        is_of_image = F.col("image_index").isNotNull()
        images = new_rows.where(is_of_image)
        refused = new_rows.where(~is_of_image).join(ids, "product_id", "left_anti")
        rows = images.unionByName(refused).unionByName(_make_rows(kept))
        written = context.lake.write(rows, QUARANTINE.name, context.quarantine_partition("encode"))
        vectors = context.lake.read_written(context.spark, VECTORS.name, files.get("vectors", []))
        whole = vectors.join(ids, "product_id", "left_anti")
        partition = {"model_version": plan.model_version, "date": context.date}
        replaced = {"quarantine": written, "vectors": context.lake.write(whole, VECTORS.name, partition)}
        for table, superseded in files.items():
            context.lake.discard(table, superseded)
        return replaced
    finally:
        kept.unpersist()


def _select_kept(context: RunContext, plan: Plan, unreached: DataFrame) -> DataFrame:
    """Return product_id, source_row, cause and images (count) of the plan's products that stay as they are.

    Args:
        context, plan: run context and its plan.
        unreached: rows of `quarantine` about photos that are missing or cannot be reached.
    """
    changes = read_changes(context, plan).where(F.col("op").isin(*ENCODED_OPS))
    products = context.lake.read(context.spark, "products", context.partition)
    ledger = read_ledger(context.spark, context.lake, plan.collection).where(~F.col("partial"))
    is_unreachable = F.bool_or(F.col("reason") == Reason.IMAGE_UNREACHABLE)
    lacking = unreached.groupBy("product_id").agg(
        is_unreachable.alias("is_unreachable"), F.count("*").alias("photos"), F.min("detail").alias("cause")
    )
    candidates = (
        lacking.join(
            ledger.select("product_id", F.col("content_hash").alias("held_hash"), "snapshot_date"), "product_id"
        )
        .join(changes.select(*CONTENT_KEY), "product_id")
        .join(products.select(*CONTENT_KEY, "source_row", _digest_text().alias("text")), CONTENT_KEY)
    )
    known = _read_served_texts(context, candidates)
    keeps, counts = context.settings.kept_nights, _read_kept_dates(context, plan)
    judged = candidates.join(known, ["product_id", "held_hash"], "left").join(counts, "product_id", "left")
    is_same_text = F.coalesce(F.col("text") == F.col("held_text"), F.lit(False))
    earlier = F.coalesce(F.col("nights"), F.lit(0))
    # With the same text the product is kept while the host fails, or until the photo is not found for the third time.
    # With a new text it is kept for a few dates only, because the new text should be served eventually.
    lasts = F.when(F.col("is_unreachable"), True).otherwise(earlier < GONE_NIGHTS - 1)
    return judged.where(F.when(is_same_text, lasts).otherwise(earlier < keeps)).select(
        "product_id", "source_row", "cause", "photos"
    )


def _digest_text() -> Column:
    return F.xxhash64(F.to_json(F.struct(*TEXT_COLUMNS)))


def _read_served_texts(context: RunContext, candidates: DataFrame) -> DataFrame:
    """Return product_id, held_hash and held_text (digest) of the products that are served now."""
    dates = [row.snapshot_date for row in candidates.select("snapshot_date").distinct().collect()]
    products = context.lake.read(context.spark, "products").where(F.col("date").isin(*dates))
    return products.select(
        "product_id", F.col("content_hash").alias("held_hash"), _digest_text().alias("held_text")
    ).dropDuplicates(["product_id", "held_hash"])


def _read_kept_dates(context: RunContext, plan: Plan) -> DataFrame:
    """Return product_id and nights: the number of consecutive dates before this one on which it was kept."""
    most = max(GONE_NIGHTS - 1, context.settings.kept_nights)
    dates = [earlier.date for earlier in list_earlier_plans(context.lake, plan.date)[:most]]
    rows = context.lake.read(context.spark, QUARANTINE.name).where(
        F.col("date").isin(*dates) & (F.col("reason") == Reason.PRODUCT_KEPT)
    )
    found = rows.groupBy("product_id").agg(F.collect_set("date").alias("dates"))
    in_a_row = F.lit(0)
    for count in range(1, len(dates) + 1):
        has_all = F.size(F.array_intersect("dates", F.array(*map(F.lit, dates[:count])))) == count
        in_a_row = F.when(has_all, count).otherwise(in_a_row)
    return found.select("product_id", in_a_row.alias("nights"))


def _make_rows(kept: DataFrame) -> DataFrame:
    """Return the rows of `quarantine` that record the kept products and the causes."""
    detail = F.format_string(
        "%d photos cannot be reached, such as: %s; the vector served before stays", "photos", "cause"
    )
    return kept.select(
        "source_row",
        "product_id",
        F.lit(None).cast("int").alias("image_index"),
        F.lit(str(Reason.PRODUCT_KEPT)).alias("reason"),
        detail.alias("detail"),
        F.lit(None).cast("string").alias("row"),
    )
