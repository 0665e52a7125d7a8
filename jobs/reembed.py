"""Re-embeds a past snapshot: its products become vectors of a model that need not be the served one.

Nothing is served and no plan of a night is touched: the work is a `Plan` of its own, kept beside the night
(`Night.apart`), that detect and encode work off like any other.
"""

import hashlib
from dataclasses import replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.changes import NEW
from jobs.counting import count_rows
from jobs.model_choice import ModelChoice, register_model
from jobs.night import Night
from jobs.plan import COUNTS, Plan
from jobs.runner import Outcome, run_stages
from jobs.where import where

KEY = ["product_id", "content_hash"]


def reembed(night: Night, model: ModelChoice, expression: str = "") -> Outcome:
    """Make the vectors of one snapshot date that the model does not have yet.

    Interrupted, it continues: what is to be done is frozen first, and each stage ends with one commit.

    Args:
        night: a date whose products are validated.
        model: whose vectors are made.
        expression: see `jobs.where`; empty takes every product.
    """
    register_model(night.lake, model)
    return run_stages(replace(night, apart=frozen(night, model, expression)), ("detect", "encode"))


def frozen(night: Night, model: ModelChoice, expression: str) -> Plan:
    """Freeze which products are encoded, or find it frozen: the same snapshot, model and expression are one work."""
    plan = Plan(
        date=night.date,
        run_id=_run_id(night, model, expression),
        model_version=model.model_version,
        detector_version=model.detector_version,
        collection=model.collection,
        ledger_version=0,
        serve=False,
    )
    attempt = f"reembed/{plan.run_id}"
    if not night.lake.done("changes", attempt):
        products = night.lake.read(night.spark, "products", night.partition)
        files = night.lake.write(
            without_vector(night, products, model, expression).withColumn("op", F.lit(NEW)), "changes", plan.partition
        )
        night.lake.commit("changes", files, attempt=attempt, partition=plan.partition, mode="overwrite")
    changes = night.lake.read(night.spark, "changes", plan.partition)
    products = night.lake.read(night.spark, "products", night.partition).join(changes, KEY, "left_semi")
    images = products.select(F.explode(F.slice("images", 1, model.max_images)))
    counts = count_rows({"new": changes, "images": images})
    return replace(plan, counts={**dict.fromkeys(COUNTS, 0), **counts})


def is_done(night: Night, model: ModelChoice, expression: str) -> bool:
    """Return whether this very work was brought to its end; products that were refused have no vector even so."""
    return night.lake.done("vectors", f"encode/{_run_id(night, model, expression)}")


def _run_id(night: Night, model: ModelChoice, expression: str) -> str:
    validated = night.lake.transaction_version("products", f"scope:date={night.date}")
    inputs = f"reembed/{validated}/{model.model_version}/{expression}"
    return f"{night.date}-{hashlib.sha256(inputs.encode()).hexdigest()[:12]}"


def without_vector(night: Night, products: DataFrame, model: ModelChoice, expression: str = "") -> DataFrame:
    """Return the products that an expression takes and that have no whole vector of the model."""
    vectors = night.lake.read(night.spark, "vectors", {"model_version": model.model_version})
    taken = products.where(where(expression)) if expression else products
    return taken.join(vectors.where(~F.col("partial")), KEY, "left_anti")
