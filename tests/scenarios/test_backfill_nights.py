"""Tests of a backfill of a missed date: the date is processed and the served rows stay."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from jobs.datasets.demo_catalog import write_demo_catalog
from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.operations.backfill import DAY_DUE, DAY_FINISHED, plan_backfill, run_backfill
from jobs.state.run_context import RunContext
from tests.scenarios.nights import BFLOAT16_COSINE, Row, run_night, served_rows

DAYS = ["2026-11-20", "2026-11-21", "2026-11-22"]


@pytest.mark.long
def test_a_missed_night_is_filled_in_and_a_night_to_come_is_run(spark, make_settings, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    write_demo_catalog(shop, products=40, days=3, seed=5, start=date(2026, 11, 20))
    settings = make_settings(
        catalog=str(shop / "{date}" / "catalog.jsonl"), mapping=str(shop / "mapping.toml"), max_refusals=0.9
    )
    collection = run_night(spark, settings, DAYS[1]).results["report"].details["collection"]
    before = served_rows(settings, collection)
    base = RunContext(spark, Lake(Storage(settings.lake)), settings, DAYS[0])

    ahead = plan_backfill(base, DAYS)
    assert [day.state for day in ahead.days] == [DAY_DUE, DAY_FINISHED, DAY_DUE]
    assert ahead.days[0].seconds is not None  # one night was measured
    done = run_backfill(base, ahead)
    first, outcome = next(done)
    assert first == DAYS[0]
    assert outcome.results["plan"].details["serve"].startswith("no")
    assert outcome.results["plan"].counts["deleted"] == 0
    assert served_rows(settings, collection) == before
    made = base.lake.read(spark, "vectors", {"date": DAYS[0]}).count()
    assert made == outcome.results["encode"].counts["encoded"] > 0

    # Interrupted here: what is finished is found finished.
    ahead = plan_backfill(base, DAYS)
    assert [day.state for day in ahead.days] == [DAY_FINISHED, DAY_FINISHED, DAY_DUE]
    ((last, _),) = run_backfill(base, ahead)
    assert last == DAYS[2]
    assert {row[1] for row in served_rows(settings, collection).values()} <= {DAYS[1], DAYS[2]}
    assert plan_backfill(replace(base, date=DAYS[2]), DAYS).due_dates == []


@pytest.mark.long
def test_nights_run_backwards_end_where_backfill_ends(spark, make_settings, tmp_path: Path) -> None:
    """What Airflow's own backfill does with ``--run-backwards``: the latest night first, then the older ones."""
    shop = tmp_path / "shop"
    write_demo_catalog(shop, products=40, days=3, seed=6, start=date(2026, 11, 20))

    def settings_of(name: str):
        return make_settings(
            lake=str(tmp_path / name), milvus=str(tmp_path / f"{name}.db"), max_refusals=0.9,
            catalog=str(shop / "{date}" / "catalog.jsonl"), mapping=str(shop / "mapping.toml"),
        )  # fmt: skip

    forwards, backwards = settings_of("forwards"), settings_of("backwards")
    # The broken rows of the demo shop would hold the deletes of the nights in one order and not in the other.
    released = {"allow_deletes": 1.0, "reason": "the same in both orders"}
    base = RunContext(spark, Lake(Storage(forwards.lake)), forwards, DAYS[0], **released)
    nights = [outcome for _, outcome in run_backfill(base, plan_backfill(base, DAYS))]
    again = [run_night(spark, backwards, day, **released) for day in reversed(DAYS)]
    (collection,) = {context.results["report"].details["collection"] for context in (*nights, *again)}

    one, other = (served_rows(settings, collection) for settings in (forwards, backwards))
    assert {name: row[0] for name, row in one.items()} == {name: row[0] for name, row in other.items()}
    assert nights[-1].results["report"].counts["stale"] > 0, "some products are there by an earlier night's row alone"
    assert min(float(np.dot(vector(one[name]), vector(other[name]))) for name in other) >= BFLOAT16_COSINE
    assert nights[-1].results["upsert"].counts["deleted"] > 0, "a product that disappeared is gone on both ways"


def vector(row: Row) -> np.ndarray:
    return np.array(row[2])
