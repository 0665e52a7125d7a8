"""Tests of reconciliation: a collection that differs from the ledger in any way is made equal to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.errors import NightStoppedError
from jobs.lake.storage import SCRATCH_FOLDER
from jobs.milvus.client import connect, count_rows
from jobs.serving.reconcile import Reconciler, spill_rows
from jobs.serving.row_writer import RowWriter
from jobs.state.ledger import read_ledger
from jobs.state.run_context import RunContext
from tests.jobs.serving.test_row_writer import CountingGuard, entity
from tests.jobs.serving_shop import DIMENSION, ServingShop, build_expected_rows, make_items, make_vector
from tests.jobs.stage_calls import upsert
from tests.milvus_rows import complete_row

FIRST, SECOND = "2026-01-02", "2026-01-03"


@pytest.fixture
def served(shop: ServingShop) -> RunContext:
    """Six products: four of the first run, one changed and one new in the second."""
    upsert(shop.prepare_run(FIRST, make_items(5)))
    context = shop.prepare_run(SECOND, [*make_items(1, title="Blue"), *make_items(5, first=1)])
    upsert(context)
    return context


@pytest.fixture
def mender(shop: ServingShop, served: RunContext) -> Iterator[Reconciler]:
    with connect(served.settings) as client:
        client.load_collection(shop.model.collection)
        writer = RowWriter(served.settings, CountingGuard(), shop.model.collection)
        yield Reconciler(served.spark, served.lake, client, writer, shop.model.model_version, DIMENSION)


def row(name: str, content_hash: str, epoch: int) -> dict:
    return {
        **entity(name), "title": "?", "content_hash": content_hash, "epoch": epoch, "vector": make_vector(content_hash),
    }  # fmt: skip


@pytest.mark.long
def test_whatever_differs_is_brought_back(shop: ServingShop, served: RunContext, mender: Reconciler) -> None:
    name, right = shop.model.collection, shop.held(served)
    assert right == build_expected_rows(
        make_items(1, title="Blue") + make_items(1, first=5), SECOND
    ) | build_expected_rows(make_items(4, first=1), FIRST)
    wrong_epoch, wrong_content = right["p002"][0], make_items(1, title="Other")[0].content_hash
    mender.client.delete(name, filter='product_id in ["p001", "p005"]')
    written = [row("p002", wrong_epoch, 9), row("p003", wrong_content, 1), row('it\'s "foreign"', wrong_content, 3)]
    mender.client.upsert(name, [complete_row(mender.client, name, one) for one in written])
    ledger = read_ledger(served.spark, served.lake, name)
    looked = mender.reconcile(ledger, dry_run=True)
    assert (looked.missing, looked.changed, looked.surplus, looked.sample) == (2, 2, 1, [])
    mended = mender.reconcile(ledger)
    assert (mended.missing, mended.changed, mended.surplus, mended.rows, mended.written) == (2, 2, 1, 5, 4)
    assert {row["product_id"] for row in mended.sample} <= {"p001", "p002", "p003", "p005"} and mended.sample
    assert shop.held(served) == right
    assert mender.reconcile(ledger).rows == 0
    assert count_rows(mender.client, name, "epoch == 1") == 4, "rows come back as the ledger has them, epoch included"
    assert list(Path(served.lake.storage.uri(SCRATCH_FOLDER)).iterdir()) == []


@pytest.mark.long
def test_what_cannot_be_brought_back_is_said(shop: ServingShop, served: RunContext, mender: Reconciler) -> None:
    lost = served.lake.open("vectors").file_uris()
    partition = {"model_version": shop.model.model_version, "date": FIRST}
    served.lake.commit("vectors", [], attempt=None, partition=partition, mode="overwrite")
    assert len(served.lake.open("vectors").file_uris()) < len(lost)
    mender.client.delete(shop.model.collection, filter='product_id in ["p001", "p005"]')
    with pytest.raises(NightStoppedError, match=r"1 products must be brought back .*'p001'.*from a backup"):
        mender.reconcile(read_ledger(served.spark, served.lake, shop.model.collection))
    assert count_rows(mender.client, shop.model.collection) == 4, "nothing was sent"


def test_spilled_rows_are_a_frame_and_leave_nothing(spark, make_night) -> None:
    context = make_night()
    pages = [
        [{"product_id": "a", "content_hash": "h", "epoch": 1}],
        [{"product_id": "b", "content_hash": None, "epoch": 2}],
    ]
    with spill_rows(spark, context.lake, pages) as frame:
        assert {tuple(row) for row in frame.collect()} == {("a", "h", None, 1, None), ("b", None, None, 2, None)}
    with spill_rows(spark, context.lake, []) as frame:
        assert frame.count() == 0
