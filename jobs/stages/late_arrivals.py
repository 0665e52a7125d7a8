"""Selects the products that a run of an older date serves: those that no later date delivered or replaced.

A product whose row is refused keeps the row of an earlier date (docs/decisions/0010-late-dates.md). If that earlier
date is run later (a missed run, or Airflow's ``--run-backwards``), its row is served then, provided that the collection
has no newer row of the product and every later date in the lake refused it. The final state therefore does not depend
on the order of the dates. Newer rows are not replaced and nothing is deleted.
"""

from dataclasses import replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.serving.rows import select_to_serve
from jobs.state.ledger import read_ledger, read_ledger_head
from jobs.state.plan_record import Plan, freeze_plan, make_run_id
from jobs.state.run_context import NIGHTLY, RunContext
from schemas.collection import ID_FIELD


def select_late_changes(context: RunContext, plan: Plan) -> DataFrame:
    """Return the rows of `changes` that an older date serves; usually there are none.

    Args:
        context: run context of the older date.
        plan: plan of that date, whose vectors are computed and which serves nothing by itself.
    """
    kept = select_to_serve(context, plan).join(_find_refused_since(context, plan.collection), ID_FIELD, "left_semi")
    held = read_ledger(context.spark, context.lake, plan.collection).where(F.col("snapshot_date") >= context.date)
    return kept.join(held, ID_FIELD, "left_anti").select(ID_FIELD, "op", "content_hash", "source_row")


def freeze_late_plan(context: RunContext, plan: Plan) -> Plan:
    """Return the frozen plan of the rows that an older date serves; call it while holding the collection's lease."""
    version = read_ledger_head(context.lake, plan.collection).version
    run_id = make_run_id(context.date, f"late/{plan.run_id}/{version}")
    late = replace(plan, run_id=run_id, ledger_version=version, serve=True)
    return freeze_plan(context, late, f"late/{run_id}", lambda: select_late_changes(context, plan))


def _find_refused_since(context: RunContext, collection: str) -> DataFrame:
    """Return product_id of products that every later date, up to the served one, refused."""
    served = read_ledger_head(context.lake, collection).high_water or ""
    dates = {partition["date"] for partition in context.lake.open("products").partitions()}
    later = [date for date in dates if context.date < date <= served]
    rows = context.lake.read(context.spark, "quarantine").where(
        F.col("date").isin(later) & (F.col("purpose") == NIGHTLY) & F.col("image_index").isNull()
    )
    times = rows.groupBy(ID_FIELD).agg(F.count_distinct("date").alias("dates"))
    return times.where(F.col("dates") == len(later)).select(ID_FIELD)
