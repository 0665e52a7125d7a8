"""Tests of re-embedding a snapshot: it writes vectors of another model and nothing else."""

from dataclasses import replace

import pytest

from jobs.operations.backfill import DAY_DUE, DAY_FINISHED, plan_backfill, run_backfill
from jobs.operations.reembed import freeze_reembedding, reembed, reembed_in_parts
from jobs.stages.runner import run_stages
from jobs.state.model_registry import describe_checkpoint
from jobs.state.plan_record import require_plan

CATALOGUE = {"one": ["a.jpg"], "two": ["a.jpg", "b.jpg"], "bad": ["missing.jpg"]}


@pytest.fixture
def context(planned_night, photo, tmp_path):
    """A run that is planned and encoded."""
    context, _ = planned_night(CATALOGUE)
    for name in ("a", "b"):
        (tmp_path / "images" / f"{name}.jpg").write_bytes(photo(ord(name)))
    run_stages(context, ("detect", "encode"))
    return context


def vectors(context, model):
    rows = context.lake.read(context.spark, "vectors", {"model_version": model.model_version}).collect()
    assert len({row.product_id for row in rows}) == len(rows)
    return {row.product_id for row in rows}


def quarantined(context):
    rows = context.lake.read_arrow("quarantine").to_pylist()
    return sorted((row["purpose"], row["date"], row["stage"], row["reason"]) for row in rows)


@pytest.mark.long
def test_a_snapshot_gets_the_vectors_of_another_model_beside_its_night(context, other_checkpoint):
    plan, before = require_plan(context.lake, context.date), quarantined(context)
    model = describe_checkpoint(other_checkpoint)
    base = replace(context, settings=context.settings.replace(model=other_checkpoint))
    ahead = plan_backfill(base, ["2026-01-01", context.date], other_checkpoint)
    assert [(day.date, day.state, day.products, day.images) for day in ahead.days] == [
        ("2026-01-01", "no snapshot", 0, 0),
        (context.date, DAY_DUE, 3, 4),
    ]
    assert ahead.seconds is None  # this model was never measured
    ((date, outcome),) = run_backfill(base, ahead, other_checkpoint)
    assert date == context.date
    assert outcome.results["encode"].counts == {"products": 3, "encoded": 2, "kept": 0, "quarantined": 1}
    assert vectors(context, model) == {"one", "two"}

    assert require_plan(context.lake, context.date) == plan  # the night's own plan stands
    mine = [row for row in quarantined(context) if row not in before]
    assert {row[:2] for row in mine} == {(f"out-of-band-{model.model_version[:8]}", context.date)}
    assert [row for row in quarantined(context) if row not in mine] == before
    assert context.lake.read_arrow("served").num_rows == 0

    again = reembed(base, model)
    assert again.results["encode"].details["note"] == "found committed"
    assert (
        plan_backfill(base, [context.date], other_checkpoint).due_dates == []
    )  # though one product could not be encoded
    measured = plan_backfill(base, [context.date], other_checkpoint, 'product_id == "bad"')
    assert measured.days[0].products == 1
    assert measured.seconds > 0
    assert measured.document()["gpu_hours"] == pytest.approx(measured.seconds * measured.gpus / 3600, abs=1e-3)


def test_where_takes_some_and_what_has_a_vector_is_left_out(context, other_checkpoint, tiny_checkpoint):
    expression = 'product_id == "two"'
    model = describe_checkpoint(other_checkpoint)
    plan = freeze_reembedding(context, model, expression)
    assert (plan.counts.new, plan.counts.images, plan.serve) == (1, 2, False)
    assert freeze_reembedding(context, model, "").run_id != plan.run_id
    same = plan_backfill(context, [context.date], str(tiny_checkpoint), expression)
    assert same.days[0].state == DAY_FINISHED
    assert list(run_backfill(context, same, str(tiny_checkpoint), expression)) == []


def test_a_killed_run_goes_on_with_the_part_it_was_in(context, other_checkpoint):
    model = describe_checkpoint(other_checkpoint)
    context = replace(context, settings=context.settings.replace(model=other_checkpoint))
    parts = reembed_in_parts(context, model, products_per_part=1)
    first, _ = next(parts)
    parts.close()  # killed after the first of three parts
    made = vectors(context, model)
    rest = list(reembed_in_parts(context, model, products_per_part=1))
    assert [first.number, *(part.number for part, _ in rest)] == [0, 1, 2]
    assert sum(outcome.results["encode"].counts["encoded"] for _, outcome in rest) == 2 - len(made)
    assert vectors(context, model) == {"one", "two"}
    assert list(reembed_in_parts(context, model, products_per_part=1)) == []
