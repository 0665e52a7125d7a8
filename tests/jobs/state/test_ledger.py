import pytest

from jobs.state.ledger import (
    compact_history,
    keys_held_since,
    make_date_mark,
    read_ledger,
    read_ledger_head,
    read_vectors,
)

COLLECTION = {"collection": "c"}


def served(product_id, op="upsert", epoch=1, content_hash="1", partial=False):
    row = {"product_id": product_id, "op": op, "epoch": epoch, "content_hash": content_hash, "partial": partial}
    return {**row, "snapshot_date": f"2026-01-0{epoch}"}


def test_state_is_the_highest_epoch_of_each_product(make_night, seed):
    context = make_night()
    first = [served("a"), served("b"), served("gone"), served("back")]
    second = [
        served("b", epoch=2, content_hash="2", partial=True),
        served("gone", "delete", 2),
        served("back", "delete", 2),
    ]
    seed(context.lake, "served", second, COLLECTION)  # the order of commits does not count
    seed(context.lake, "served", first, COLLECTION)
    seed(context.lake, "served", [served("back", epoch=3)], COLLECTION)
    seed(context.lake, "served", [served("x")], {"collection": "other"})
    rows = {row.product_id: row for row in read_ledger(context.spark, context.lake, "c").collect()}
    assert rows.keys() == {"a", "b", "back"}
    assert rows["b"].asDict() == {
        "product_id": "b", "content_hash": "2", "partial": True, "snapshot_date": "2026-01-02", "epoch": 2,
        "group_id": "b", "payload_hash": "",
    }  # fmt: skip
    assert (rows["a"].epoch, rows["back"].epoch) == (1, 3)


def test_what_was_held_after_an_earlier_night(make_night, seed):
    context = make_night()
    seed(context.lake, "served", [served("a"), served("gone")], COLLECTION)
    seed(context.lake, "served", [served("a", epoch=2, content_hash="2"), served("gone", "delete", 2)], COLLECTION)
    poison = [served("a", epoch=3, content_hash="3"), served("spam", epoch=3)]
    seed(context.lake, "served", poison, COLLECTION)
    back = {"snapshot_date": "2026-01-02"}  # a restore to the second night
    seed(context.lake, "served", [served("a", epoch=4, content_hash="2") | back], COLLECTION)
    seed(context.lake, "served", [served("spam", "delete", 4) | back], COLLECTION)

    def state(date=None):
        rows = read_ledger(context.spark, context.lake, "c", date).collect()
        return {row.product_id: row.content_hash for row in rows}

    assert state() == state("2026-01-02") == state("2026-01-03") == {"a": "2"}
    assert state("2026-01-01") == {"a": "1", "gone": "1"}
    assert state("2025-12-31") == {}
    told_rows = {tuple(row)[:2] for row in keys_held_since(context.spark, context.lake, "c", "2025-12-31").collect()}
    assert told_rows == {("a", "1"), ("a", "2"), ("a", "3"), ("gone", "1"), ("spam", "1")}

    rows = context.lake.read(context.spark, "served", COLLECTION).drop("collection")
    for first_kept, left in (("2025-12-31", 8), ("2026-01-02", 4), ("2026-01-09", 1)):
        kept = compact_history(rows, first_kept)
        files = context.lake.write(kept, "served", {"collection": first_kept})
        context.lake.commit("served", files, attempt=first_kept, partition={"collection": first_kept})
        assert sum(file.rows for file in files) == left
        found = {
            row.product_id: row.content_hash for row in read_ledger(context.spark, context.lake, first_kept).collect()
        }
        assert found == {"a": "2"}, "whatever is folded, the present stays"
    kept = read_ledger(context.spark, context.lake, "2025-12-31", "2026-01-01").collect()
    assert {row.product_id for row in kept} == {"a", "gone"}
    again = read_ledger(context.spark, context.lake, "2026-01-02", "2026-01-02").collect()
    assert [(row.product_id, row.content_hash) for row in again] == [("a", "2")]


def test_a_collection_never_served(make_night):
    context = make_night()
    assert read_ledger(context.spark, context.lake, "c").count() == 0
    assert read_ledger_head(context.lake, "c").version == 0
    assert read_ledger_head(context.lake, "c").high_water is None


def test_version_and_highwater_stand_beside_the_rows(make_night, seed):
    context = make_night()
    for version, day in enumerate(["2026-01-02", "2026-01-03"]):
        seed(
            context.lake,
            "served",
            [served("a", epoch=version + 1)],
            COLLECTION,
            counter=("ledger:c", version),
            marks=make_date_mark("highwater", "c", day),
        )
    assert read_ledger_head(context.lake, "c").version == 2
    assert read_ledger_head(context.lake, "c").high_water == "2026-01-03"
    assert read_ledger_head(context.lake, "other").version == 0
    assert read_ledger_head(context.lake, "other").high_water is None


def test_one_vector_a_content_whole_before_partial_then_latest(make_night, seed):
    context = make_night()

    def vectors(day, *rows, model="m"):
        columns = ("product_id", "content_hash", "vector", "partial")
        partition = {"model_version": model, "date": day}
        seed(context.lake, "vectors", [dict(zip(columns, row, strict=True)) for row in rows], partition)

    vectors("2026-01-01", ("a", "1", [1.0], False), ("b", "1", [1.0], True), ("c", "1", [1.0], False))
    vectors("2026-01-02", ("a", "1", [2.0], True), ("b", "1", [2.0], True), ("c", "1", [2.0], False))
    vectors("2026-01-03", ("a", "2", [3.0], False), ("unwanted", "1", [3.0], False))
    vectors("2026-01-04", ("a", "1", [9.0], False), model="another")
    wanted = context.spark.createDataFrame(
        [("a", "1"), ("b", "1"), ("c", "1"), ("none", "1"), ("gone", None)], "product_id string, content_hash string"
    )
    rows = {row.product_id: row for row in read_vectors(context.spark, context.lake, "m", wanted).collect()}
    assert {key: (row.vector, row.partial, row.date) for key, row in rows.items()} == {
        "a": ([pytest.approx(1.0)], False, "2026-01-01"),
        "b": ([pytest.approx(2.0)], True, "2026-01-02"),
        "c": ([pytest.approx(2.0)], False, "2026-01-02"),
    }
