"""Tests of audit: each kind of damage is counted under its name, with its products, and nothing is written."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.serving.audit import CollectionBusyError, audit_served, find_doubled_ids
from jobs.serving.row_faults import DIFFERENT, DOUBLED, MISSING, ORPHANED, STALE
from jobs.stages.runner import run_stages
from jobs.state.lease import hold_lease
from tests.jobs.damaged_collection import (
    DAMAGED,
    FIRST,
    OTHER_COLLECTION,
    damage_rows,
    double_row,
    move_alias_away,
    serve_two_dates,
)
from tests.jobs.serving_shop import ServingShop, make_items


def list_files(folder: str) -> dict[str, int]:
    return {str(path): path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()}


def list_examples(result: Any) -> dict[str, set[str]]:
    return {fault: set(ids) for fault, ids in result.examples.items()}


def test_each_damage_is_counted_under_its_name(lite_shop: ServingShop) -> None:
    context, put_back = serve_two_dates(lite_shop)
    name, lake = lite_shop.model.collection, list_files(context.settings.lake)
    sound = audit_served(context, full=True)
    assert sound.is_sound and (sound.held.rows, sound.compared) == (9, 9)
    assert audit_served(context).held == sound.held == sound.wanted, "the sum is that of the comparison"

    damage_rows(context.settings, name)
    of_rows = {fault: {key} for key, fault in DAMAGED.items()}
    of_vectors = {DIFFERENT: {"p000", "p004"}, "wrong_norm": of_rows.pop("wrong_norm")}
    del of_rows[DIFFERENT]
    assert list_examples(audit_served(context)) == of_rows, "without vectors"
    full = audit_served(context, full=True)
    assert list_examples(full) == of_rows | of_vectors and full.problems == []
    assert full.counts == {fault: len(ids) for fault, ids in (of_rows | of_vectors).items()}
    sampled = audit_served(context, sample=100)
    assert sampled.counts == full.counts and sampled.compared == 8, "all but the missing one"
    assert audit_served(context, max_examples=0).examples[STALE] == []

    put_back()
    ahead = audit_served(context)
    assert list_examples(ahead) == {STALE: {"p006", "p007"}, MISSING: {"p008"}, ORPHANED: {"p009"}}
    assert ["ledger is ahead" in problem and "none of the 3 rows" in problem for problem in ahead.problems] == [True]
    move_alias_away(context.settings)
    moved = audit_served(context)
    assert f"alias products names {OTHER_COLLECTION}" in moved.problems[0] and f"left it at {name}" in moved.problems[0]
    assert list_files(context.settings.lake) == lake, "an audit writes nothing"


def test_a_collection_that_is_written_is_not_judged(lite_shop: ServingShop) -> None:
    context = lite_shop.prepare_run(FIRST, make_items(2))
    run_stages(context, ["upsert", "publish"])
    with (
        hold_lease(context.lake, lite_shop.model.collection, context.settings),
        pytest.raises(CollectionBusyError, match=r"process \d+ on .* writes moon_.*run the same command again"),
    ):
        audit_served(context)
    assert CollectionBusyError.exit_status == 75


@pytest.mark.long
@pytest.mark.milvus_server
def test_a_doubled_row_is_found_on_a_server_and_impossible_on_lite(shop: ServingShop) -> None:
    context, name = shop.prepare_run(FIRST, make_items(5)), shop.model.collection
    run_stages(context, ["upsert", "publish"])
    has_both = double_row(context.settings, name, "p003")
    found = audit_served(context)
    assert list_examples(found) == ({DOUBLED: {"p003"}} if has_both else {})


@given(st.lists(st.integers(1, 2), max_size=40))
def test_doubled_ids_are_found_by_halving(rows: list[int]) -> None:
    ids = [f"{number:03d}" for number in range(len(rows))]
    numbers = dict(zip(ids, rows, strict=True))
    found = find_doubled_ids(ids, lambda low, high: sum(n for key, n in numbers.items() if low <= key <= high))
    assert list(found) == [key for key, number in numbers.items() if number == 2]
