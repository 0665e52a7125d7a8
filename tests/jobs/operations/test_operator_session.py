"""Tests of operator sessions on the served collection: under its lease, with the right lake, recorded in `runs`."""

import time

import pytest

from jobs.errors import NightStoppedError
from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.milvus.client import connect
from jobs.operations.operator_session import operator_session, record_operation
from jobs.serving.alias import current_operator
from jobs.state.lease import read_lease_state
from tests.jobs.serving_shop import ServingShop, make_items
from tests.jobs.stage_calls import upsert

DATE = "2026-01-02"


def test_the_lease_is_held_and_the_lake_must_know_the_collection(lite_shop: ServingShop) -> None:
    context, name = lite_shop.prepare_run(DATE, make_items(2)), lite_shop.model.collection
    upsert(context)
    with connect(context.settings) as client:
        client.create_alias(name, "products")
    with operator_session(context) as bench:
        state = read_lease_state(context.lake, name)
        assert (bench.collection, bench.ledger_version, bench.lease.epoch) == (name, 1, state.epoch)
        assert not state.released
    assert read_lease_state(context.lake, name).released
    foreign = lite_shop.context(DATE, lake=context.settings.lake + "2")
    with pytest.raises(NightStoppedError, match=rf"knows nothing of {name}, which alias products names.*--lake"):
        operator_session(foreign).__enter__()


def test_what_was_done_is_noted_with_who_did_it(tmp_path) -> None:
    lake = Lake(Storage(str(tmp_path / "lake")))
    record_operation(lake, "repair", DATE, {"rows": 3}, {"collection": "moon_a"}, time.monotonic() - 2)
    (row,) = lake.read_arrow("runs").to_pylist()
    assert (row["stage"], row["date"], row["outcome"], dict(row["counts"])) == ("repair", DATE, "success", {"rows": 3})
    assert dict(row["details"]) == {"collection": "moon_a", "by": current_operator()} and row["seconds"] >= 2
