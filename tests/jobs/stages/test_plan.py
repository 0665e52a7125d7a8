from contextlib import nullcontext
from dataclasses import replace
from datetime import date

import pytest

import jobs.stages.plan
from jobs.errors import NightStoppedError
from jobs.stages.plan import plan
from jobs.state.ledger import make_date_mark
from jobs.state.model_registry import ModelChoice
from jobs.state.plan_record import PlanCounts, read_current_plan, require_plan
from jobs.state.run_context import NIGHTLY

DATE = "2026-01-02"
MODEL = ModelChoice("/checkpoint", "a" * 64, "d" * 16, dimension=4, max_images=2, collection="moon_a")


@pytest.fixture
def model(monkeypatch):
    """The run's model without a checkpoint and a Milvus (`test_model_choice` has both); may be changed."""
    chosen = {"model": MODEL}
    monkeypatch.setattr(jobs.stages.plan, "connect", lambda settings: nullcontext())
    monkeypatch.setattr(jobs.stages.plan, "choose_model", lambda settings, client, lake: chosen["model"])
    monkeypatch.setattr(jobs.stages.plan, "store_model", lambda *_: False)
    return chosen


@pytest.fixture
def world(make_night, seed, model):
    """A run whose tables the test fills: products and ledger as {id: hash}, refused as ids."""

    class World:
        epoch = 0

        def context(self, date=DATE, **options):
            self.lake = make_night(date, **options).lake
            return make_night(date, **options)

        def deliver(self, products, refused=(), date=DATE, images=1):
            lake = self.context().lake
            rows = [
                {"product_id": key, "source_row": row, "title": "t", "content_hash": value, "attributes": []}
                | {"images": [{"uri": f"file:///{key}{n}", "version": "1"} for n in range(images)]}
                for row, (key, value) in enumerate(products.items())
            ]
            bad = [
                {"product_id": key, "source_row": len(rows) + n, "reason": "no_image"} for n, key in enumerate(refused)
            ]
            snapshot = [{"source_row": n} for n in range(len(rows) + len(bad))]
            seed(lake, "snapshots", snapshot, {"date": date}, mode="overwrite")
            seed(lake, "quarantine", bad, {"date": date, "purpose": NIGHTLY, "stage": "validate"}, mode="overwrite")
            seed(lake, "products", rows, {"date": date}, mode="overwrite")

        def serve(self, held, date=DATE, partial=()):
            lake = self.context().lake
            self.epoch += 1
            rows = [
                {"product_id": key, "op": "delete" if value is None else "upsert", "content_hash": value}
                | {"epoch": self.epoch, "snapshot_date": date, "partial": key in partial}
                for key, value in held.items()
            ]
            counter = (f"ledger:{MODEL.collection}", self.epoch - 1)
            marks = make_date_mark("highwater", MODEL.collection, date)
            seed(lake, "served", rows, {"collection": MODEL.collection}, counter=counter, marks=marks)

        def changes(self, context):
            current = require_plan(context.lake, context.date)
            rows = context.lake.read(context.spark, "changes", current.partition).collect()
            return {row.product_id: row.op for row in rows}

    return World()


def ordinal(day):
    return date.fromisoformat(day).toordinal()


def many(start, stop, value="1"):
    return {f"p{n:03}": value for n in range(start, stop)}


def test_first_night_then_the_same_plan_again(world):
    world.deliver(many(0, 3), refused=["bad", None], images=3)
    context = world.context()
    result = plan(context)
    expected = PlanCounts().as_dict() | {
        "delivered": 5,
        "valid": 3,
        "quarantined": 2,
        "new": 3,
        "images": 6,
        "unreadable": 1,
    }
    assert result.counts == expected  # of three images two reach the model
    assert result.details["run_id"].startswith(f"{DATE}-")
    assert "3 products with 6 images" in result.details["estimate"]
    assert world.changes(context) == dict.fromkeys(many(0, 3), "new")
    first = require_plan(context.lake, DATE)
    assert (first.collection, first.model_version, first.serve) == (MODEL.collection, MODEL.model_version, True)
    assert context.lake.read_arrow("models").to_pylist()[0]["uri"] == MODEL.uri

    assert plan(context).details["run_id"] == first.run_id
    assert require_plan(context.lake, DATE) == first  # found, not made anew
    assert context.lake.read_arrow("plans").num_rows == 1
    assert context.lake.read_arrow("models").num_rows == 1


def test_every_kind_of_change_is_counted_and_conserved(world, seed):
    world.serve(many(0, 8), date="2026-01-01", partial=["p001"])
    world.serve({"p009": "1", "back": "1"})
    world.serve({"back": None})
    context = world.context()
    vectors = [
        {"product_id": "p002", "content_hash": "2", "vector": [1.0], "partial": False},
        {"product_id": "p003", "content_hash": "2", "vector": [1.0], "partial": True},
    ]
    seed(context.lake, "vectors", vectors, {"model_version": MODEL.model_version, "date": "2026-01-01"})
    tonight = {"p000": "1", "p001": "1", "p002": "2", "p003": "2", "p004": "1", "fresh": "1", "back": "1"}
    world.deliver(tonight, refused=["p005", "p006", "p004", "never"])
    counts = plan(context).counts
    assert world.changes(context) == {
        "p001": "changed", "p002": "reuse", "p003": "changed", "fresh": "new", "back": "new",
        "p007": "deleted", "p009": "deleted",
    }  # fmt: skip
    assert counts == {
        "delivered": 11, "valid": 7, "quarantined": 4, "new": 2, "changed": 2, "reuse": 1, "deleted": 2,
        "held": 0, "unchanged": 2, "unreadable": 0, "stale": 2, "images": 4, "merged": 0, "left_out": 0,
        "payload": 0,
    }  # fmt: skip
    assert counts["valid"] == counts["new"] + counts["changed"] + counts["reuse"] + counts["unchanged"]
    assert counts["delivered"] == counts["valid"] + counts["quarantined"]


def test_after_serving_the_plan_of_the_same_date_is_empty(world):
    world.deliver(many(0, 3))
    context = world.context()
    before = plan(context).details["run_id"]
    world.serve(many(0, 3))
    result = plan(context)
    assert result.details["run_id"] != before
    assert (result.counts["unchanged"], result.counts["new"], result.details["estimate"]) == (3, 0, "nothing to encode")
    assert world.changes(context) == {}


def test_a_new_snapshot_of_the_date_is_planned_anew(world):
    world.deliver(many(0, 2))
    context = world.context()
    before = plan(context).details["run_id"]
    world.deliver(many(0, 3))
    result = plan(context)
    assert result.details["run_id"] != before
    assert require_plan(context.lake, DATE).run_id == result.details["run_id"]
    assert result.counts["new"] == 3


def test_older_date_makes_vectors_but_serves_and_deletes_nothing(world):
    world.serve(many(0, 40), date="2026-01-05")
    world.deliver({"p000": "1", "p001": "0", "old": "1"}, refused=["p002"])
    context = world.context()
    result = plan(context)
    assert not require_plan(context.lake, DATE).serve
    assert result.details["serve"].startswith("no")
    assert world.changes(context) == {"p001": "changed", "old": "new"}
    assert (result.counts["deleted"], result.counts["stale"]) == (0, 0)


def test_breaker_stops_and_the_named_override_passes(world):
    world.serve(many(0, 40))
    world.deliver(many(0, 20))
    with pytest.raises(NightStoppedError, match=r"--allow-deletes 0\.5"):
        plan(world.context())
    assert read_current_plan(world.lake, DATE) is None  # not frozen
    context = world.context(allow_deletes=0.5, reason="half the range ends")
    result = plan(context)
    assert result.counts["deleted"] == 20
    assert result.details["override"] == "--allow-deletes 0.5 (half the range ends)"
    assert plan(world.context()).details["run_id"] == result.details["run_id"]  # frozen: the override stands


def test_rows_of_a_product_count_once_for_the_breakers(world, seed):
    world.serve(many(0, 40), date="2026-01-01")
    world.deliver(many(0, 30), refused=[f"p{n:03}" for n in range(30, 40)])
    context = world.context(breaker_floor=5, max_refusals=0.2)
    # Further rows are part of the products, or left out: 10 of 40 products are refused, not 10 of 400 rows.
    snapshot = [{"source_row": n} for n in range(400)]
    seed(context.lake, "snapshots", snapshot, {"date": DATE}, mode="overwrite")
    roles = [{"source_row": n, "product_id": "x", "role": "merged", "product_row": 0} for n in range(40, 380)]
    roles += [{"source_row": n, "product_id": "y", "role": "left_out"} for n in range(380, 400)]
    seed(context.lake, "row_roles", roles, {"date": DATE}, mode="overwrite")
    with pytest.raises(NightStoppedError, match=r"refused 10 of 40 delivered rows \(25.0%\)"):
        plan(context)
    counts = plan(world.context(breaker_floor=5, max_refusals=0.3)).counts
    names = ("delivered", "valid", "quarantined", "merged", "left_out")
    assert [counts[name] for name in names] == [400, 30, 10, 340, 20]
    assert counts["delivered"] == sum(counts[name] for name in names[1:])


def test_what_the_condition_leaves_out_is_absent_for_the_delete_breaker(world, seed):
    world.serve(many(0, 40), date="2026-01-01")
    world.deliver(many(0, 30))
    context = world.context(breaker_floor=5, max_deletes=0.2)
    seed(context.lake, "snapshots", [{"source_row": n} for n in range(40)], {"date": DATE}, mode="overwrite")
    roles = [{"source_row": n, "product_id": f"p{n:03}", "role": "left_out"} for n in range(30, 40)]
    seed(context.lake, "row_roles", roles, {"date": DATE}, mode="overwrite")
    with pytest.raises(NightStoppedError, match="would delete 10 of 40 served products"):
        plan(context)


def test_refusals_trip_the_breaker_but_hold_the_deletes(world):
    world.serve(many(0, 40))
    world.deliver(many(0, 20), refused=many(20, 40))
    with pytest.raises(NightStoppedError, match=r"--allow-refusals 0\.5"):
        plan(world.context())
    counts = plan(world.context(allow_refusals=0.5, reason="known")).counts
    assert (counts["deleted"], counts["stale"], counts["unchanged"]) == (0, 20, 20)


def test_a_night_killed_between_its_two_commits_keeps_its_rows(world, monkeypatch, seed):
    world.deliver(many(0, 2))
    context = world.context()
    with monkeypatch.context() as patch:
        patch.setattr(jobs.stages.plan, "commit_plan_header", killed)
        with pytest.raises(KeyboardInterrupt):
            plan(context)
    assert read_current_plan(context.lake, DATE) is None
    late = [{"product_id": "p000", "content_hash": "1", "vector": [1.0], "partial": False}]
    seed(context.lake, "vectors", late, {"model_version": MODEL.model_version, "date": DATE})
    assert plan(context).counts["new"] == 2  # the counts are those of the committed rows
    assert world.changes(context) == dict.fromkeys(many(0, 2), "new")


def killed(*args):
    raise KeyboardInterrupt


def test_going_back_to_an_earlier_model_makes_its_plan_current_again(world, model):
    world.deliver(many(0, 2))
    context = world.context()
    first = plan(context).details["run_id"]
    model["model"] = replace(MODEL, model_version="b" * 64, collection="moon_b")
    assert plan(context).details["run_id"] != first
    model["model"] = MODEL
    assert plan(context).details["run_id"] == first
    assert plan(context).details["run_id"] == first
    assert require_plan(context.lake, DATE).run_id == first
    assert context.lake.read_arrow("plans").num_rows == 3


def test_without_products_or_plan_the_message_names_the_command(world):
    with pytest.raises(NightStoppedError, match=f"moon prepare --date {DATE}"):
        plan(world.context())
    with pytest.raises(NightStoppedError, match=f"moon prepare --date {DATE}"):
        require_plan(world.lake, DATE)
