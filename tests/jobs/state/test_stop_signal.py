"""Tests of SIGTERM: an upsert ends between two batches and releases its lease; the next run completes it."""

import os
import signal
import threading

import pytest

import jobs.serving.row_writer
from jobs.errors import StoppedError
from jobs.lake.storage import Storage
from jobs.serving.row_writer import RowWriter
from jobs.state.lease import read_lease_state
from jobs.state.stop_signal import StopMark, stop_on_sigterm
from tests.jobs.serving_shop import ServingShop, build_expected_rows, make_items
from tests.jobs.stage_calls import upsert

DATE = "2026-01-02"


def test_a_mark_is_seen_by_every_process_that_knows_the_lake(tmp_path) -> None:
    mark, other = (StopMark(Storage(str(tmp_path / "lake")), f"host:1:2:{name}") for name in ("a", "b"))
    mark.check("moon_a")
    mark.set()
    StopMark(Storage(str(tmp_path / "lake")), "host:1:2:a").clear()
    mark.check("moon_a")
    mark.set()
    other.check("moon_a")
    with pytest.raises(StoppedError, match=r"stopped on SIGTERM between two batches of moon_a.*Run the same command"):
        mark.check("moon_a")
    assert StoppedError.exit_status == 75


def test_the_signal_sets_the_mark_and_a_finished_block_says_so(tmp_path) -> None:
    mark, before = StopMark(Storage(str(tmp_path / "lake")), "host:1:2:a"), signal.getsignal(signal.SIGTERM)
    with (
        pytest.raises(StoppedError, match="moon_a was brought to its end before"),
        stop_on_sigterm(mark, "moon_a"),
    ):
        os.kill(os.getpid(), signal.SIGTERM)
        assert mark.is_set()
    assert not mark.is_set() and signal.getsignal(signal.SIGTERM) == before


def test_outside_of_the_main_thread_signals_are_left_alone(tmp_path) -> None:
    mark, seen = StopMark(Storage(str(tmp_path / "lake")), "host:1:2:a"), []

    def work() -> None:
        with stop_on_sigterm(mark, "moon_a"):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


def test_an_upsert_ends_between_two_batches(lite_shop: ServingShop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, sent = lite_shop, []
    context = shop.prepare_run(DATE, make_items(12), upsert_batch_bytes=800)
    original = jobs.serving.row_writer._upsert

    def signalled(client: object, collection: str, rows: list) -> None:
        sent.append(len(rows))
        os.kill(os.getpid(), signal.SIGTERM)  # while the batch is on its way
        original(client, collection, rows)

    with monkeypatch.context() as patch:
        patch.setattr(jobs.serving.row_writer, "_upsert", signalled)
        with pytest.raises(StoppedError, match=rf"between two batches of {shop.model.collection}"):
            upsert(context)
    assert len(sent) == 1 and len(shop.held(context)) == sent[0] < 12
    assert read_lease_state(context.lake, shop.model.collection).released
    assert upsert(context).counts["upserted"] == 12
    assert shop.held(context) == build_expected_rows(make_items(12), DATE)


@pytest.mark.long
def test_tasks_on_a_server_end_too(shop: ServingShop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes before the tasks start: each of them ends at its first batch."""
    context = shop.prepare_run(DATE, make_items(12), upsert_batch_bytes=800)
    original = RowWriter.write

    def signalled(writer: RowWriter, client: object, rows: object) -> object:
        os.kill(os.getpid(), signal.SIGTERM)
        return original(writer, client, rows)

    with monkeypatch.context() as patch:
        patch.setattr(RowWriter, "write", signalled)
        with pytest.raises(StoppedError, match="between two batches"):
            upsert(context)
    assert shop.held(context) == {}
    assert read_lease_state(context.lake, shop.model.collection).released
    assert upsert(context).counts["upserted"] == 12
