"""An older date filled in: it makes its vectors, and serves what no later date has said anything of.

A product whose row is refused keeps what an earlier night served (design, "Conservation"). Where that earlier night is
run afterwards (a missed one, or Airflow's ``--run-backwards``), its row comes now: the collection holds nothing newer
of the product, and every later date that the lake knows refused it. So nights end alike forwards and backwards. Nothing
newer is replaced and nothing is deleted: a product that a missed night would have deleted stays until a night does.
"""

from dataclasses import replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.serving.rows import to_serve
from jobs.spark.row_counts import count_rows
from jobs.state.changes import DELETED, OPS
from jobs.state.ledger import highwater, ledger_state, ledger_version
from jobs.state.plan_record import COUNTS, Plan, commit_changes, run_name
from jobs.state.run_context import Night
from schemas.collection import ID_FIELD


def late_changes(night: Night, plan: Plan) -> DataFrame:
    """Return what an older date serves, as rows of `changes`; none, as a rule.

    Args:
        night: the older date.
        plan: of that night, which serves nothing by itself; its vectors are made.
    """
    kept = to_serve(night, plan).join(_refused_since(night, plan.collection), ID_FIELD, "left_semi")
    held = ledger_state(night.spark, night.lake, plan.collection).where(F.col("snapshot_date") >= night.date)
    return kept.join(held, ID_FIELD, "left_anti").select(ID_FIELD, "op", "content_hash", "source_row")


def late_plan(night: Night, plan: Plan) -> Plan:
    """Freeze what an older date serves; the lease of the collection is held, so that it stays right."""
    lake, version = night.lake, ledger_version(night.lake, plan.collection)
    run_id = run_name(night.date, f"late/{plan.run_id}/{version}")
    late = replace(plan, run_id=run_id, ledger_version=version, serve=True, counts=dict.fromkeys(COUNTS, 0))
    commit_changes(lake, late, late_changes(night, plan), f"late/{run_id}")
    frozen = lake.read(night.spark, "changes", late.partition)
    counts = count_rows({op: frozen.where(F.col("op") == op) for op in OPS if op != DELETED})
    return replace(late, counts={**late.counts, **counts, "valid": sum(counts.values())})


def _refused_since(night: Night, collection: str) -> DataFrame:
    """Return product_id of what every later date refused, up to the one that is served."""
    latest = highwater(night.lake, collection)
    served = latest.isoformat() if latest else ""
    dates = {partition["date"] for partition in night.lake.open("products").partitions()}
    later = [date for date in dates if night.date < date <= served]
    rows = night.lake.read(night.spark, "quarantine").where(F.col("date").isin(later) & F.col("image_index").isNull())
    times = rows.groupBy(ID_FIELD).agg(F.count_distinct("date").alias("dates"))
    return times.where(F.col("dates") == len(later)).select(ID_FIELD)
