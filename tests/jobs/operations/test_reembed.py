"""Re-embedding a snapshot: vectors of another model, and nothing else."""

from dataclasses import replace

import pytest

from jobs.operations.backfill import DUE, FINISHED, backfill, outlook
from jobs.operations.reembed import frozen, reembed, reembed_in_parts
from jobs.stages.runner import run_stages
from jobs.state.model_registry import checkpoint_at
from jobs.state.plan_record import required_plan

CATALOGUE = {"one": ["a.jpg"], "two": ["a.jpg", "b.jpg"], "bad": ["missing.jpg"]}


@pytest.fixture
def night(planned_night, photo, tmp_path):
    """A night that is planned and encoded."""
    night, _ = planned_night(CATALOGUE)
    for name in ("a", "b"):
        (tmp_path / "images" / f"{name}.jpg").write_bytes(photo(ord(name)))
    run_stages(night, ("detect", "encode"))
    return night


def vectors(night, model):
    rows = night.lake.read(night.spark, "vectors", {"model_version": model.model_version}).collect()
    assert len({row.product_id for row in rows}) == len(rows)
    return {row.product_id for row in rows}


def quarantined(night):
    rows = night.lake.read_arrow("quarantine").to_pylist()
    return sorted((row["date"], row["stage"], row["reason"]) for row in rows)


@pytest.mark.long
def test_a_snapshot_gets_the_vectors_of_another_model_beside_its_night(night, other_checkpoint):
    plan, before = required_plan(night.lake, night.date), quarantined(night)
    model = checkpoint_at(other_checkpoint)
    base = replace(night, settings=night.settings.replace(model=other_checkpoint))
    ahead = outlook(base, ["2026-01-01", night.date], other_checkpoint)
    assert [(day.date, day.state, day.products, day.images) for day in ahead.days] == [
        ("2026-01-01", "no snapshot", 0, 0),
        (night.date, DUE, 3, 4),
    ]
    assert ahead.seconds is None  # this model was never measured
    ((date, outcome),) = backfill(base, ahead, other_checkpoint)
    assert date == night.date
    assert outcome.results["encode"].counts == {"products": 3, "encoded": 2, "quarantined": 1}
    assert vectors(night, model) == {"one", "two"}

    assert required_plan(night.lake, night.date) == plan  # the night's own plan stands
    mine = [row for row in quarantined(night) if row not in before]
    assert {date for date, _, _ in mine} == {f"{night.date}.{model.model_version[:8]}"}
    assert [row for row in quarantined(night) if row not in mine] == before
    assert night.lake.read_arrow("served").num_rows == 0

    again = reembed(base, model)
    assert again.results["encode"].details["note"] == "found committed"
    assert outlook(base, [night.date], other_checkpoint).due == []  # though one product could not be encoded
    measured = outlook(base, [night.date], other_checkpoint, 'product_id == "bad"')
    assert measured.days[0].products == 1
    assert measured.seconds > 0
    assert measured.document()["gpu_hours"] == pytest.approx(measured.seconds * measured.gpus / 3600, abs=1e-3)


def test_where_takes_some_and_what_has_a_vector_is_left_out(night, other_checkpoint, tiny_checkpoint):
    expression = 'product_id == "two"'
    model = checkpoint_at(other_checkpoint)
    plan = frozen(night, model, expression)
    assert (plan.counts["new"], plan.counts["images"], plan.serve) == (1, 2, False)
    assert frozen(night, model, "").run_id != plan.run_id
    same = outlook(night, [night.date], str(tiny_checkpoint), expression)
    assert same.days[0].state == FINISHED
    assert list(backfill(night, same, str(tiny_checkpoint), expression)) == []


def test_a_killed_run_goes_on_with_the_part_it_was_in(night, other_checkpoint):
    model = checkpoint_at(other_checkpoint)
    night = replace(night, settings=night.settings.replace(model=other_checkpoint))
    parts = reembed_in_parts(night, model, products_each=1)
    first, _ = next(parts)
    parts.close()  # killed after the first of three parts
    made = vectors(night, model)
    rest = list(reembed_in_parts(night, model, products_each=1))
    assert [first.number, *(part.number for part, _ in rest)] == [0, 1, 2]
    assert sum(outcome.results["encode"].counts["encoded"] for _, outcome in rest) == 2 - len(made)
    assert vectors(night, model) == {"one", "two"}
    assert list(reembed_in_parts(night, model, products_each=1)) == []
