"""An older date filled in: it makes its vectors, and serves what no later date has said anything of.

A product whose row is refused keeps what an earlier night served (design, "Conservation"). Where that earlier night is
run afterwards (a missed one, or Airflow's ``--run-backwards``), its row comes now: the collection holds nothing newer
of the product, and every later date that the lake knows refused it. So nights end alike forwards and backwards. Nothing
newer is replaced and nothing is deleted: a product that a missed night would have deleted stays until a night does.
"""

from dataclasses import replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.serving.rows import select_to_serve
from jobs.spark.row_counts import count_frames
from jobs.state.changes import DELETED, OPS
from jobs.state.ledger import read_highwater_date, read_ledger, read_ledger_version
from jobs.state.plan_record import COUNTS, Plan, commit_changes, make_run_id
from jobs.state.run_context import RunContext
from schemas.collection import ID_FIELD


def select_late_changes(context: RunContext, plan: Plan) -> DataFrame:
    """Return what an older date serves, as rows of `changes`; none, as a rule.

    Args:
        context: the older date.
        plan: of that night, which serves nothing by itself; its vectors are made.
    """
    kept = select_to_serve(context, plan).join(_find_refused_since(context, plan.collection), ID_FIELD, "left_semi")
    held = read_ledger(context.spark, context.lake, plan.collection).where(F.col("snapshot_date") >= context.date)
    return kept.join(held, ID_FIELD, "left_anti").select(ID_FIELD, "op", "content_hash", "source_row")


def freeze_late_plan(context: RunContext, plan: Plan) -> Plan:
    """Freeze what an older date serves; the lease of the collection is held, so that it stays right."""
    lake, version = context.lake, read_ledger_version(context.lake, plan.collection)
    run_id = make_run_id(context.date, f"late/{plan.run_id}/{version}")
    late = replace(plan, run_id=run_id, ledger_version=version, serve=True, counts=dict.fromkeys(COUNTS, 0))
    commit_changes(lake, late, select_late_changes(context, plan), f"late/{run_id}")
    frozen = lake.read(context.spark, "changes", late.partition)
    counts = count_frames({op: frozen.where(F.col("op") == op) for op in OPS if op != DELETED})
    return replace(late, counts={**late.counts, **counts, "valid": sum(counts.values())})


def _find_refused_since(context: RunContext, collection: str) -> DataFrame:
    """Return product_id of what every later date refused, up to the one that is served."""
    latest = read_highwater_date(context.lake, collection)
    served = latest.isoformat() if latest else ""
    dates = {partition["date"] for partition in context.lake.open("products").partitions()}
    later = [date for date in dates if context.date < date <= served]
    rows = context.lake.read(context.spark, "quarantine").where(
        F.col("date").isin(later) & F.col("image_index").isNull()
    )
    times = rows.groupBy(ID_FIELD).agg(F.count_distinct("date").alias("dates"))
    return times.where(F.col("dates") == len(later)).select(ID_FIELD)
