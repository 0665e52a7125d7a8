"""Holds deletes that a bad delivery would cause: a product whose row may be present but unreadable is not deleted.

A date with rows whose product id cannot be read deletes nothing. Its deletes stay held until enough consecutive
complete deliveries lack the product (setting ``held_delete_nights``), or until a run with --allow-deletes.
Source: docs/decisions/0039-held-deletes.md.
"""

from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.state.changes import DELETED, HELD
from jobs.state.plan_record import Plan, list_earlier_plans
from jobs.state.run_context import RunContext
from validation.reasons import Reason
from validation.rules import CONTROL_OR_BROKEN_CHARACTER
from validation.spark_rules import is_invisible


def select_unreadable(refused: DataFrame, ledger: DataFrame) -> DataFrame:
    """Return refused rows that may belong to any product: the id is absent, damaged, or salvaged and not served.

    Args:
        refused: rows of `quarantine` that stage validate refused.
        ledger: rows that Milvus holds (`jobs.state.ledger.read_ledger`).
    """
    served = ledger.select("product_id", F.lit(True).alias("is_served"))
    product_id = F.col("product_id")
    is_doubtful = (F.col("reason") == Reason.MALFORMED_ROW) & F.col("is_served").isNull()
    is_lost = is_invisible(product_id) | product_id.rlike(CONTROL_OR_BROKEN_CHARACTER)
    return refused.join(served, "product_id", "left").where(is_lost | is_doubtful).drop("is_served")


def hold_deletes(context: RunContext, draft: Plan, changes: DataFrame, unreadable: DataFrame | None) -> DataFrame:
    """Return the changes of a date, with the deletes that must wait marked as held.

    Args:
        context: run context; --allow-deletes releases every delete.
        draft: the plan's header.
        changes: rows of `jobs.state.changes.compare_with_ledger`.
        unreadable: rows of the date whose product id cannot be read (`select_unreadable`); None for none.
    """
    if context.allow_deletes is not None:
        return changes
    is_delete = F.col("op") == DELETED
    if unreadable is not None and not unreadable.isEmpty():
        return changes.withColumn("op", F.when(is_delete, HELD).otherwise(F.col("op")))
    waiting = _select_waiting(context, draft, context.settings.held_delete_nights)
    if waiting is None:
        return changes
    marked = changes.join(waiting.withColumn("waits", F.lit(True)), "product_id", "left")
    return marked.withColumn("op", F.when(is_delete & F.col("waits"), HELD).otherwise(F.col("op"))).drop("waits")


def _select_waiting(context: RunContext, draft: Plan, nights: int) -> DataFrame | None:
    """Return product_id of deletes that the previous date held and this date does not release; None for none.

    This date is a complete delivery. It releases a delete that was held on every date back to the one that completes
    `nights` complete deliveries; 0 releases nothing.
    """
    earlier = list_earlier_plans(context.lake, draft.date)
    if not earlier or not earlier[0].counts.held:
        return None
    held = _read_held(context, earlier[0])
    window: list[Plan] = []
    complete = 1  # this date
    for plan in earlier:
        if complete == nights:
            break
        window.append(plan)
        complete += plan.counts.unreadable == 0
    if complete != nights:
        return held
    released = reduce(lambda ids, plan: ids.join(_read_held(context, plan), "product_id", "left_semi"), window, held)
    return held.join(released, "product_id", "left_anti")


def _read_held(context: RunContext, plan: Plan) -> DataFrame:
    changes = context.lake.read(context.spark, "changes", plan.partition)
    return changes.where(F.col("op") == HELD).select("product_id")
