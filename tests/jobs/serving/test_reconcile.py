"""Mending: a collection that differs from the ledger in every way there is comes out equal to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.errors import NightStoppedError
from jobs.lake.storage import SCRATCH
from jobs.milvus.client import connect, count
from jobs.serving.reconcile import Mender, spilled
from jobs.serving.row_writer import RowWriter
from jobs.stages.upsert import upsert
from jobs.state.ledger import ledger_state
from jobs.state.run_context import Night
from tests.jobs.serving.test_row_writer import CountingGuard, entity
from tests.jobs.serving_shop import DIMENSION, Shop, expected, items, vector_of

FIRST, SECOND = "2026-01-02", "2026-01-03"


@pytest.fixture
def served(shop: Shop) -> Night:
    """Six products: four of the first night, one changed and one new in the second."""
    upsert(shop.planned(FIRST, items(5)))
    night = shop.planned(SECOND, [*items(1, title="Blue"), *items(5, first=1)])
    upsert(night)
    return night


@pytest.fixture
def mender(shop: Shop, served: Night) -> Iterator[Mender]:
    with connect(served.settings) as client:
        client.load_collection(shop.model.collection)
        writer = RowWriter(served.settings, CountingGuard(), shop.model.collection)
        yield Mender(served.spark, served.lake, client, writer, shop.model.model_version, DIMENSION)


def row(name: str, content_hash: str, epoch: int) -> dict:
    return {
        **entity(name), "title": "?", "content_hash": content_hash, "epoch": epoch, "vector": vector_of(content_hash),
    }  # fmt: skip


@pytest.mark.long
def test_whatever_differs_is_brought_back(shop: Shop, served: Night, mender: Mender) -> None:
    name, right = shop.model.collection, shop.held(served)
    assert right == expected(items(1, title="Blue") + items(1, first=5), SECOND) | expected(items(4, first=1), FIRST)
    wrong_epoch, wrong_content = right["p002"][0], items(1, title="Other")[0].content_hash
    mender.client.delete(name, filter='product_id in ["p001", "p005"]')
    mender.client.upsert(
        name, [row("p002", wrong_epoch, 9), row("p003", wrong_content, 1), row('it\'s "foreign"', wrong_content, 3)]
    )
    ledger = ledger_state(served.spark, served.lake, name)
    looked = mender.to(ledger, look_only=True)
    assert (looked.missing, looked.changed, looked.surplus, looked.sample) == (2, 2, 1, [])
    mended = mender.to(ledger)
    assert (mended.missing, mended.changed, mended.surplus, mended.rows, mended.written) == (2, 2, 1, 5, 4)
    assert {row["product_id"] for row in mended.sample} <= {"p001", "p002", "p003", "p005"} and mended.sample
    assert shop.held(served) == right
    assert mender.to(ledger).rows == 0
    assert count(mender.client, name, "epoch == 1") == 4, "rows come back as the ledger has them, epoch included"
    assert list(Path(served.lake.storage.uri(SCRATCH)).iterdir()) == []


@pytest.mark.long
def test_what_cannot_be_brought_back_is_said(shop: Shop, served: Night, mender: Mender) -> None:
    lost = served.lake.open("vectors").file_uris()
    partition = {"model_version": shop.model.model_version, "date": FIRST}
    served.lake.commit("vectors", [], attempt=None, partition=partition, mode="overwrite")
    assert len(served.lake.open("vectors").file_uris()) < len(lost)
    mender.client.delete(shop.model.collection, filter='product_id in ["p001", "p005"]')
    with pytest.raises(NightStoppedError, match=r"1 products must be brought back .*'p001'.*from a backup"):
        mender.to(ledger_state(served.spark, served.lake, shop.model.collection))
    assert count(mender.client, shop.model.collection) == 4, "nothing was sent"


def test_spilled_rows_are_a_frame_and_leave_nothing(spark, make_night) -> None:
    night = make_night()
    pages = [
        [{"product_id": "a", "content_hash": "h", "epoch": 1}],
        [{"product_id": "b", "content_hash": None, "epoch": 2}],
    ]
    with spilled(spark, night.lake, pages) as frame:
        assert {tuple(row) for row in frame.collect()} == {("a", "h", 1, None), ("b", None, 2, None)}
    with spilled(spark, night.lake, []) as frame:
        assert frame.count() == 0
