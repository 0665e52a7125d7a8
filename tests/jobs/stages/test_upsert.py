"""Tests of upsert on a real Milvus: consecutive runs, reruns, kills at every step, duplicates, and what is refused."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import jobs.serving.row_writer
import jobs.stages.upsert
from jobs.errors import NightStoppedError
from jobs.milvus.client import connect, fetch_rows
from jobs.serving.row_writer import RowWriter
from jobs.stages.row_accounting import count_fates
from jobs.state.lease import Lease
from jobs.state.ledger import read_ledger_head
from jobs.state.run_context import RunContext
from schemas.collection import SPARSE_FIELD
from tests.jobs.serving_shop import ServingShop, ShopItem, build_expected_rows, commit_rows, make_items
from tests.jobs.stage_calls import upsert
from tests.loopback_proxy import open_loopback_proxy

FIRST, SECOND, THIRD, FOURTH = "2026-01-02", "2026-01-03", "2026-01-04", "2026-01-05"
STRANGE = [ShopItem(name) for name in ('a"b', "c'd", "e\\f", "grün 😀", "{x}", "%_", "né" * 85)]


def test_three_nights(shop: ServingShop) -> None:
    rows = [*make_items(20), *STRANGE]
    first = shop.prepare_run(FIRST, rows)
    assert dict(upsert(first).counts) == {"upserted": 27, "deleted": 0, "mended": 0}
    assert shop.held(first) == build_expected_rows(rows, FIRST)

    changed = [*make_items(3, title="Blue mug"), *make_items(15, first=3), *make_items(2, first=50), *STRANGE[2:]]
    second = shop.prepare_run(SECOND, changed, partial=["p050"])
    assert dict(upsert(second).counts) == {"upserted": 5, "deleted": 4, "mended": 0}
    tonight, before = [*changed[:3], *changed[18:20]], [*changed[3:18], *STRANGE[2:]]
    assert shop.held(second) == build_expected_rows(tonight, SECOND) | build_expected_rows(before, FIRST)
    assert shop.read_ledger(second) == {name: (*row[:2], name == "p050") for name, row in shop.held(second).items()}
    again = upsert(second)
    assert (dict(again.counts), again.details["note"]) == (
        {"upserted": 0, "deleted": 0, "mended": 0},
        "found committed",
    )

    third = shop.prepare_run(THIRD, changed)
    assert dict(upsert(third).counts) == {"upserted": 1, "deleted": 0, "mended": 0}, "the partial one, tried again"
    fourth = shop.prepare_run(FOURTH, changed)
    version = read_ledger_head(fourth.lake, shop.model.collection).version
    assert dict(upsert(fourth).counts) == {"upserted": 0, "deleted": 0, "mended": 0}
    assert str(read_ledger_head(fourth.lake, shop.model.collection).high_water) == FOURTH
    assert read_ledger_head(fourth.lake, shop.model.collection).version == version + 1
    assert upsert(shop.prepare_run(FOURTH, changed)).details["note"] == "nothing to change"


def test_a_row_says_what_services_filter_by(shop: ServingShop) -> None:
    full = ShopItem("full", "T" * 5000, ("Home", "Kitchen", "Mugs", "Big"), {"BRAND": "Nordlys", "colour": "red"})
    bare = ShopItem("bare", category=(), attributes={})
    context = shop.prepare_run(FIRST, [full, bare])
    upsert(context)
    names = ["title", "category", "category_1", "category_2", "category_3", "brand", "snapshot_date", "model_version"]
    with connect(context.settings) as client:
        client.load_collection(shop.model.collection)
        rows = {
            row["product_id"]: row
            for row in fetch_rows(client, shop.model.collection, ["full", "bare"], [*names, "epoch"])
        }
    assert [rows["full"][name] for name in names] == [
        "T" * 4096, "Home/Kitchen/Mugs/Big", "Home", "Kitchen", "Mugs", "Nordlys", FIRST, shop.model.model_version,
    ]  # fmt: skip
    assert [rows["bare"][name] for name in names[1:6]] == [""] * 5
    assert rows["full"]["epoch"] == read_ledger_head(context.lake, shop.model.collection).epoch == 1


def test_another_group_is_served_without_encoding(lite_shop: ServingShop) -> None:
    shop = lite_shop
    upsert(shop.prepare_run(FIRST, make_items(3, group_id="p000")))
    rows = [*make_items(1), *make_items(1, first=1, group_id="p000"), *make_items(1, first=2, group_id="other")]
    context = shop.prepare_run(SECOND, rows)
    vectors = context.lake.open("vectors").version()
    assert dict(upsert(context).counts) == {"upserted": 1, "deleted": 0, "mended": 0}
    assert context.lake.open("vectors").version() == vectors
    with connect(context.settings) as client:
        name = shop.model.collection
        client.load_collection(name)
        found = fetch_rows(client, name, ["p000", "p001", "p002"], ["group_id", "snapshot_date"])
    assert {row["product_id"]: (row["group_id"], row["snapshot_date"]) for row in found} == {
        "p000": ("p000", FIRST), "p001": ("p000", FIRST), "p002": ("other", SECOND),
    }  # fmt: skip
    counts = count_fates(context, shop.plan(context))
    assert (counts["unchanged"], counts["reused"], counts["encoded"]) == (2, 1, 0)
    assert dict(upsert(shop.prepare_run(SECOND, rows)).counts) == {"upserted": 0, "deleted": 0, "mended": 0}


POINTS = [
    (RowWriter, "send", 1),
    (jobs.serving.row_writer, "_upsert", 3),
    (RowWriter, "delete", 1),
    (jobs.stages.upsert, "flush_collection", 1),
    (jobs.stages.upsert, "verify_collection", 1),
    (jobs.stages.upsert.UpsertRun, "_commit", 1),
]


@pytest.mark.long
def test_killed_at_any_point_and_run_again(lite_shop: ServingShop, kill_at) -> None:
    """Each run is killed at another step; after the repetition lake and collection are as without a kill."""
    shop = lite_shop
    options = {"upsert_batch_bytes": 800}
    upsert(shop.prepare_run("2026-01-02", make_items(8), **options))
    for day, (owner, name, call) in enumerate(POINTS, start=3):
        date = f"2026-01-{day:02d}"
        rows = [*make_items(5, title=f"Mug of {date}"), *make_items(2, first=10 * day)]
        context = shop.prepare_run(date, rows, **options)
        kill_at(context, owner, name, call)
        assert "found" not in upsert(context).details.get("note", "")
        assert shop.held(context) == build_expected_rows(rows, date), (name, call)
        assert shop.read_ledger(context) == {name: (*row[:2], False) for name, row in shop.held(context).items()}


@pytest.mark.long
def test_killed_and_followed_by_another_plan(shop: ServingShop, kill_at) -> None:
    """The killed run changed, added and deleted products; the next catalogue undoes all of that."""
    upsert(shop.prepare_run(FIRST, make_items(6)))
    killed = shop.prepare_run(SECOND, [*make_items(2, title="Blue"), *make_items(2, first=2), ShopItem("new")])
    kill_at(killed, jobs.stages.upsert.UpsertRun, "_commit")
    held = shop.held(killed)
    assert held.keys() == {"p000", "p001", "p002", "p003", "new"} and held["p000"][2] == "Blue"
    context = shop.prepare_run(SECOND, make_items(5), refused=["p001"])
    counts = upsert(context).counts
    assert (counts["upserted"], counts["deleted"]) == (0, 1) and counts["mended"] == 4
    assert shop.held(context) == build_expected_rows(make_items(5), FIRST), (
        "p005 deleted, the rest as the first night left it"
    )
    assert shop.read_ledger(context).keys() == shop.held(context).keys()


def test_twins_do_the_work_once(shop: ServingShop) -> None:
    rows = make_items(30)
    context = shop.prepare_run(FIRST, rows)
    with ThreadPoolExecutor(2) as pool:
        results = [task.result() for task in [pool.submit(upsert, context) for _ in range(2)]]
    assert sorted(result.counts["upserted"] for result in results) == [0, 30]
    assert shop.held(context) == build_expected_rows(rows, FIRST)
    assert read_ledger_head(context.lake, shop.model.collection).version == 1


@pytest.mark.long
def test_a_collection_that_lost_rows_is_made_whole(lite_shop: ServingShop) -> None:
    shop = lite_shop
    context = shop.prepare_run(FIRST, make_items(6))
    upsert(context)
    with connect(context.settings) as client:
        client.load_collection(shop.model.collection)
        client.delete(shop.model.collection, filter='product_id in ["p001", "p002"]')
    again = shop.prepare_run(FIRST, make_items(6))
    assert dict(upsert(again).counts) == {"upserted": 0, "deleted": 0, "mended": 2}
    assert shop.held(again) == build_expected_rows(make_items(6), FIRST)


@pytest.mark.long
def test_the_same_stage_undoes_what_a_stalled_writer_sent_after_its_successor(lite_shop: ServingShop) -> None:
    """Its last request arrives when the ledger is written: an old row, and one of a product that is gone."""
    shop = lite_shop
    upsert(shop.prepare_run(FIRST, make_items(3)))
    context = shop.prepare_run(SECOND, [*make_items(1, title="Blue"), *make_items(1, first=1)])
    with connect(context.settings) as client:
        client.load_collection(shop.model.collection)
        known = [field["name"] for field in client.describe_collection(shop.model.collection)["fields"]]
        fields = [name for name in known if name != SPARSE_FIELD]  # Milvus makes it
        late = client.get(shop.model.collection, ids=["p000", "p002"], output_fields=fields)
    upsert(context)
    clean = shop.held(context)
    assert clean.keys() == {"p000", "p001"} and clean["p000"][2] == "Blue"
    with connect(context.settings) as client:
        client.upsert(shop.model.collection, [dict(row) for row in late])
    assert shop.held(context) != clean
    assert dict(upsert(context).counts) == {"upserted": 0, "deleted": 0, "mended": 2}
    assert shop.held(context) == clean


@pytest.mark.long
def test_nights_may_go_to_another_milvus_and_back(lite_shop: ServingShop, tmp_path: Path) -> None:
    """As from Milvus Lite to a server: the collection is rebuilt there from the lake, nothing is encoded again."""
    shop = lite_shop
    upsert(shop.prepare_run(FIRST, make_items(6)))
    elsewhere = shop.prepare_run(SECOND, make_items(6), milvus=str(tmp_path / "new.db"))
    assert dict(upsert(elsewhere).counts) == {"upserted": 0, "deleted": 0, "mended": 6}
    assert shop.held(elsewhere) == build_expected_rows(make_items(6), FIRST)

    blue = make_items(6, title="Blue", first=1)
    upsert(shop.prepare_run(THIRD, blue, milvus=str(tmp_path / "new.db")))
    back = shop.prepare_run(FOURTH, [*blue, *make_items(1, first=7)])
    assert dict(upsert(back).counts) == {"upserted": 1, "deleted": 0, "mended": 7}, "7 rows, but not the right ones"
    assert shop.held(back) == build_expected_rows(blue, THIRD) | build_expected_rows(make_items(1, first=7), FOURTH)


def test_an_older_date_changes_nothing(lite_shop: ServingShop) -> None:
    shop = lite_shop
    upsert(shop.prepare_run(SECOND, make_items(3)))
    late = shop.prepare_run(FIRST, make_items(9, title="Old"))
    result = upsert(late)
    assert dict(result.counts) == {"upserted": 0, "deleted": 0, "mended": 0}
    assert "serves a later date" in result.details["note"]
    assert shop.held(late) == build_expected_rows(make_items(3), SECOND)


def test_what_encode_refused_stays_as_it_is(lite_shop: ServingShop) -> None:
    shop = lite_shop
    upsert(shop.prepare_run(FIRST, make_items(3)))
    context = shop.prepare_run(
        SECOND, [*make_items(1, title="Broken"), *make_items(2, first=1), ShopItem("x")], unreadable=["p000", "x"]
    )
    assert dict(upsert(context).counts) == {"upserted": 0, "deleted": 0, "mended": 0}
    assert shop.held(context) == build_expected_rows(make_items(3), FIRST)


def replace_vectors(
    shop: ServingShop, context: RunContext, change: Callable[[np.ndarray], np.ndarray], ids: slice
) -> None:
    rows = context.lake.read_arrow("vectors", {"date": context.date}).to_pylist()
    partition = {"model_version": shop.model.model_version, "date": context.date}
    rows = [{name: value for name, value in row.items() if name not in partition} for row in rows]
    for row in rows[ids]:
        row["vector"] = change(np.float32(row["vector"]))
    commit_rows(context.lake, "vectors", [row for row in rows if len(row["vector"])], partition, "broken model")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda vector: vector * np.nan, r"2 of 4 vectors are not unit vectors of 16 numbers \(product 'p000'"),
        (lambda vector: vector * 1.01, "2 of 4 vectors are not unit vectors"),
        (lambda vector: vector[:8], "2 of 4 vectors are not unit vectors"),
        (lambda vector: vector[:0], "4 products .* are to be served, 2 have a vector: run `moon infer"),
    ],
    ids=["NaN", "length", "dimension", "missing"],
)
def test_bad_vectors_stop_the_night_before_anything_is_sent(lite_shop: ServingShop, change, message: str) -> None:
    context = lite_shop.prepare_run(FIRST, make_items(4))
    replace_vectors(lite_shop, context, change, slice(0, 2))
    with pytest.raises(NightStoppedError, match=message):
        upsert(context)
    with connect(context.settings) as client:
        assert client.list_collections() == []


def test_too_many_rows_for_milvus_lite(lite_shop: ServingShop) -> None:
    upsert(lite_shop.prepare_run(FIRST, make_items(4)))
    context = lite_shop.prepare_run(SECOND, make_items(6), lite_max_rows=5)
    with pytest.raises(NightStoppedError, match=r"6 products are too many for Milvus Lite.*--milvus http://HOST"):
        upsert(context)
    assert lite_shop.held(context) == build_expected_rows(make_items(4), FIRST)


def test_a_plan_that_another_run_overtook(lite_shop: ServingShop) -> None:
    shop = lite_shop
    context = shop.prepare_run(FIRST, make_items(2))
    upsert(shop.prepare_run(SECOND, make_items(3)))
    with pytest.raises(NightStoppedError, match=r"made before another run changed .*`moon prepare --date 2026-01-02`"):
        upsert(context)


def test_a_lost_lease_ends_the_run_between_two_requests(shop: ServingShop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another writer takes over after the first check; on a server the tasks detect it themselves."""
    from jobs.state.lease import LeaseLostError, read_lease_state

    context = shop.prepare_run(FIRST, make_items(30), upsert_batch_bytes=2000)
    original = RowWriter.write

    def stolen(writer: RowWriter, client: object, rows: object) -> object:
        state = read_lease_state(context.lake, shop.model.collection)
        thief = Lease(context.lake, shop.model.collection, 60)
        thief._counter, thief.epoch = state.counter, state.epoch + 1
        thief._write(released=False)
        return original(writer, client, rows)

    monkeypatch.setattr(RowWriter, "write", stolen)
    with pytest.raises(LeaseLostError, match=r"has taken .* over"):
        upsert(context)
    assert shop.held(context) == {}
    assert read_ledger_head(context.lake, shop.model.collection).version == 0


@pytest.mark.long
@pytest.mark.milvus_server
def test_a_server_that_is_cut_off_for_seconds_costs_no_run(
    make_night: Callable[..., RunContext], monkeypatch: pytest.MonkeyPatch, milvus_server: str
) -> None:
    with open_loopback_proxy(int(milvus_server.rpartition(":")[2])) as proxy:
        shop = ServingShop(make_night, monkeypatch, milvus=f"http://127.0.0.1:{proxy.port}", upsert_batch_bytes=2000)
        upsert(shop.prepare_run(FIRST, make_items(30)))
        context = shop.prepare_run(SECOND, make_items(30, title="Another title"))
        proxy.cut(8)
        counts = upsert(context).counts
        assert counts["upserted"] == 30
        assert set(shop.held(context)) == {item.id for item in make_items(30)}
        with connect(context.settings) as client:
            client.drop_collection(shop.model.collection)
