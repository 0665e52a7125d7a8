"""Tests of plans: counts add up, equal inputs give the same run, an out-of-band plan is never the nightly plan."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import NightStoppedError
from jobs.state.model_registry import ModelChoice
from jobs.state.plan_record import (
    PlanCounts,
    commit_plan_header,
    find_last_served_plan,
    make_out_of_band_purpose,
    make_plan,
    read_current_plan,
    read_plans,
    require_plan,
)

MODEL = ModelChoice("/model", "a" * 64, "d" * 16, 4, 2, "moon_a")
DATE = "2026-01-02"
NUMBERS = st.integers(0, 10**6)


@given(new=NUMBERS, changed=NUMBERS, reuse=NUMBERS, deleted=NUMBERS)
def test_derived_numbers_add_up(new: int, changed: int, reuse: int, deleted: int) -> None:
    counts = PlanCounts(new=new, changed=changed, reuse=reuse, deleted=deleted)
    assert counts.to_encode == new + changed
    assert counts.to_upsert == counts.to_encode + reuse
    assert counts.differing == counts.to_upsert + deleted


def test_the_same_inputs_are_the_same_run() -> None:
    first, second = (make_plan(DATE, MODEL, "inputs", ledger_version=3, serve=True) for _ in range(2))
    assert first.run_id == second.run_id and first.run_id.startswith(f"{DATE}-")
    assert make_plan(DATE, MODEL, "other", ledger_version=3, serve=True).run_id != first.run_id


def test_the_last_served_plan_is_the_nightly_one_that_the_ledger_marks(make_night, seed) -> None:
    lake = make_night().lake
    purpose = make_out_of_band_purpose(MODEL.model_version)
    first, second, beside = (
        make_plan(DATE, MODEL, "1", ledger_version=0, serve=True),
        make_plan(DATE, MODEL, "2", ledger_version=0, serve=True),
        make_plan(DATE, MODEL, "3", ledger_version=0, serve=True, purpose=purpose),
    )
    for plan in (first, second, beside):
        commit_plan_header(lake, plan, f"plan/{plan.run_id}")
    assert find_last_served_plan(lake) is None
    for plan in (first, beside):
        row = {"product_id": "1", "op": "upsert"}
        seed(lake, "served", [row], {"collection": MODEL.collection}, attempt=plan.served_attempt)
    assert find_last_served_plan(lake) == first


def test_headers_come_back_and_only_nightly_ones_are_current(make_night) -> None:
    lake = make_night().lake
    assert read_current_plan(lake, DATE) is None
    with pytest.raises(NightStoppedError, match="no plan for 2026-01-02"):
        require_plan(lake, DATE)
    nightly = replace(make_plan(DATE, MODEL, "1", ledger_version=0, serve=True), counts=PlanCounts(valid=2, new=2))
    later = nightly.planned_at + timedelta(hours=1)
    purpose = make_out_of_band_purpose(MODEL.model_version)
    beside = replace(make_plan(DATE, MODEL, "2", ledger_version=0, serve=True, purpose=purpose), planned_at=later)
    for plan in (nightly, beside):
        commit_plan_header(lake, plan, f"plan/{plan.run_id}")
    assert beside.is_out_of_band and purpose == "out-of-band-aaaaaaaa"
    assert require_plan(lake, DATE) == nightly, "though the other one was frozen later"
    assert {plan.run_id for plan in read_plans(lake)} == {nightly.run_id, beside.run_id}
