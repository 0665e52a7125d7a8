"""Tests of held deletes, on frozen plans of several dates (whole runs: tests/scenarios/test_bad_deliveries.py)."""

from dataclasses import replace

import pytest

from jobs.state.held_deletes import hold_deletes, select_unreadable
from jobs.state.model_registry import ModelChoice
from jobs.state.plan_record import PlanCounts, commit_plan_header, make_plan

MODEL = ModelChoice("/checkpoint", "a" * 64, "d" * 16, dimension=4, max_images=2, collection="moon_a")
CHANGES = "product_id string, op string, content_hash string, source_row long"
REFUSED = "product_id string, reason string"


class Deliveries:
    """Dates whose deletes are held or done, one after the other."""

    def __init__(self, make_night, seed):
        self.make_night, self.seed = make_night, seed

    def run(self, date, absent, unreadable=0, **options):
        """Freeze a date's plan; return the ids whose delete is held."""
        context = self.make_night(date, **options)
        frame = context.spark.createDataFrame([(key, "deleted", None, None) for key in absent], CHANGES)
        rows = context.spark.createDataFrame([(None, "missing_id")] * unreadable, REFUSED) if unreadable else None
        draft = make_plan(date, MODEL, date, ledger_version=1, serve=True)
        found = hold_deletes(context, draft, frame, rows).collect()
        self.seed(context.lake, "changes", [row.asDict() for row in found], draft.partition)
        held = {row.product_id for row in found if row.op == "held"}
        counts = PlanCounts(held=len(held), deleted=len(absent) - len(held), unreadable=unreadable)
        commit_plan_header(context.lake, replace(draft, counts=counts), f"plan/{date}")
        return held


@pytest.fixture
def deliveries(make_night, seed):
    return Deliveries(make_night, seed)


def test_held_deletes_are_done_after_three_complete_deliveries(deliveries):
    assert deliveries.run("2026-01-01", ["gone"]) == set(), "a complete delivery deletes at once"
    assert deliveries.run("2026-01-02", ["a", "b"], unreadable=1) == {"a", "b"}
    assert deliveries.run("2026-01-03", ["a", "b"]) == {"a", "b"}
    assert deliveries.run("2026-01-04", ["a"]) == {"a"}, "b was delivered again"
    assert deliveries.run("2026-01-05", ["a", "b"]) == set(), "the third complete one for a; b is no longer held"


def test_an_incomplete_delivery_in_between_does_not_count(deliveries):
    deliveries.run("2026-01-02", ["a"], unreadable=2)
    deliveries.run("2026-01-03", ["a"])
    deliveries.run("2026-01-04", ["a"], unreadable=1)
    assert deliveries.run("2026-01-05", ["a"]) == {"a"}
    assert deliveries.run("2026-01-06", ["a"]) == set()


def test_the_setting_and_the_override(deliveries):
    deliveries.run("2026-01-02", ["a"], unreadable=1)
    assert deliveries.run("2026-01-03", ["a"], held_delete_nights=0) == {"a"}
    assert deliveries.run("2026-01-04", ["a"], held_delete_nights=1) == set()


def test_rows_that_may_be_of_any_product(spark):
    ledger = spark.createDataFrame([("served",)], "product_id string")
    rows = [
        (None, "missing_id"),
        ("\u200b", "missing_id"),
        ("caf\ufffd", "invalid_characters"),
        ("unknown", "malformed_row"),
        ("served", "malformed_row"),
        ("new", "empty_title"),
    ]
    refused = spark.createDataFrame(rows, REFUSED)
    found = {row.product_id for row in select_unreadable(refused, ledger).collect()}
    assert found == {None, "\u200b", "caf\ufffd", "unknown"}
