"""Tests of Delta commits: two writers with stale handles, replays and concurrent duplicate runs."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from jobs.errors import FenceError, SchemaVersionError, UsageError
from jobs.lake.storage import Storage
from jobs.lake.store import Lake, is_commit_conflict, open_lake
from jobs.lake.writing import AddedFile, FileSink
from schemas.tables import TABLES

DAY = {"date": "2026-11-22"}


class StaleLake(Lake):
    """A lake whose first table handle is stale, as that of a slow concurrent duplicate run would be."""

    def __init__(self, storage: Storage, stale: DeltaTable) -> None:
        super().__init__(storage)
        self._stale: DeltaTable | None = stale

    def open(self, name: str) -> DeltaTable:
        stale, self._stale = self._stale, None
        return stale or super().open(name)


@pytest.fixture(params=["folder", pytest.param("store", marks=pytest.mark.long)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """A folder, and an S3-compatible object store."""
    return Storage(str(tmp_path)) if request.param == "folder" else request.getfixturevalue("s3_storage")


def product_file(lake: Lake, *ids: str, partition: dict[str, str] = DAY) -> list[AddedFile]:
    sink = FileSink(lake.storage, "products", partition)
    sink.write_rows([{"product_id": name, "source_row": row} for row, name in enumerate(ids)])
    return sink.close()


def ids(lake: Lake) -> list[str]:
    return sorted(lake.read_arrow("products")["product_id"].to_pylist())


@pytest.mark.parametrize("filled", [False, True], ids=["empty", "filled"])
@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_two_stale_writers_of_the_same_attempt_land_once(storage: Storage, mode: str, filled: bool) -> None:
    lake = Lake(storage)
    if filled:
        lake.commit("products", product_file(lake, "old"), attempt="first", partition=DAY)
    stale = StaleLake(lake.storage, lake.open("products"))
    assert lake.commit("products", product_file(lake, "a", "b"), attempt="t", partition=DAY, mode=mode)
    assert not stale.commit("products", product_file(lake, "a", "b"), attempt="t", partition=DAY, mode=mode)
    assert ids(lake) == (["a", "b", "old"] if filled and mode == "append" else ["a", "b"])


@pytest.mark.parametrize("filled", [False, True], ids=["empty", "filled"])
@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_two_stale_writers_of_different_attempts(storage: Storage, mode: str, filled: bool) -> None:
    """Both appends are committed; of two overwrites the later replaces the earlier."""
    lake = Lake(storage)
    if filled:
        lake.commit("products", product_file(lake, "old"), attempt="first", partition=DAY)
    stale = StaleLake(lake.storage, lake.open("products"))
    lake.commit("products", product_file(lake, "a"), attempt="one", partition=DAY, mode=mode)
    assert stale.commit("products", product_file(lake, "b"), attempt="two", partition=DAY, mode=mode)
    expected = ["b"] if mode == "overwrite" else ["a", "b", *(["old"] if filled else [])]
    assert ids(lake) == expected


def test_few_rows_of_a_large_table_are_read_without_the_others(storage: Storage) -> None:
    lake = Lake(storage)
    lake.commit("products", product_file(lake, "a", "b", "c"), attempt="one", partition=DAY)
    where = ds.field("product_id").isin(pa.array(["c", "x", "a"], pa.string()))
    found = lake.read_arrow("products", DAY, columns=["source_row", "product_id"], where=where)
    assert found.to_pylist() == [{"source_row": 0, "product_id": "a"}, {"source_row": 2, "product_id": "c"}]
    nothing = ds.field("product_id").isin(pa.array([], pa.string()))
    assert lake.read_arrow("products", DAY, where=nothing).num_rows == 0


def test_a_replay_from_a_fresh_handle_changes_nothing(storage: Storage) -> None:
    lake = Lake(storage)
    files = product_file(lake, "a")
    assert lake.commit("products", files, attempt="t", partition=DAY)
    version = lake.open("products").version()
    assert not Lake(storage).commit("products", files, attempt="t", partition=DAY)
    assert lake.open("products").version() == version
    assert lake.is_committed("products", "t") and not lake.is_committed("products", "other")


def test_overwrite_leaves_other_partitions_alone(storage: Storage) -> None:
    lake = Lake(storage)
    tomorrow = {"date": "2026-11-23"}
    lake.commit("products", product_file(lake, "a"), attempt="1", partition=DAY)
    lake.commit("products", product_file(lake, "b", partition=tomorrow), attempt="2", partition=tomorrow)
    lake.commit("products", product_file(lake, "c"), attempt="3", partition=DAY, mode="overwrite")
    assert ids(lake) == ["b", "c"]
    assert lake.read_arrow("products", tomorrow)["product_id"].to_pylist() == ["b"]


def test_concurrent_appends_all_land(storage: Storage) -> None:
    lake = Lake(storage)
    lake.open("products")

    def append(number: int) -> bool:
        own = Lake(storage)
        return own.commit("products", product_file(own, f"p{number}"), attempt=f"a{number}", partition=DAY)

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(append, range(6)))
    assert ids(lake) == [f"p{number}" for number in range(6)]


def test_a_table_may_be_created_by_many_at_once(storage: Storage) -> None:
    """No writer fails, and no concurrently written row is lost."""
    for number in range(8 if storage.is_local else 2):
        lakes = [Lake(replace(storage, root=f"{storage.root}/{number}")) for _ in range(6)]

        def append(lake: Lake) -> bool:
            name = str(id(lake))
            return lake.commit("products", product_file(lake, name), attempt=name, partition=DAY)

        with ThreadPoolExecutor(6) as pool:
            assert all(pool.map(append, lakes))
        assert ids(lakes[0]) == sorted(str(id(lake)) for lake in lakes)


def test_a_fence_lets_one_writer_through(storage: Storage) -> None:
    lake = Lake(storage)
    first, second = product_file(lake, "a"), product_file(lake, "b")
    lake.commit("products", first, attempt="1", partition=DAY, counter=("ledger", 0), marks={"high": 739000})
    assert lake.read_transaction_version("products", "ledger") == 1
    assert lake.read_transaction_version("products", "high") == 739000
    with pytest.raises(FenceError, match="moved on from 0"):
        lake.commit("products", second, attempt="2", partition=DAY, counter=("ledger", 0))
    assert ids(lake) == ["a"]


def test_a_stale_writer_is_stopped_by_the_fence(storage: Storage) -> None:
    lake = Lake(storage)
    stale = StaleLake(lake.storage, lake.open("products"))
    lake.commit("products", product_file(lake, "a"), attempt="1", partition=DAY, counter=("ledger", 0))
    with pytest.raises(FenceError):
        stale.commit("products", product_file(lake, "b"), attempt="2", partition=DAY, counter=("ledger", 0))
    assert ids(lake) == ["a"]


def test_compaction_removes_what_it_names(storage: Storage) -> None:
    lake = Lake(storage)
    small = [product_file(lake, name) for name in ("a", "b")]
    for number, files in enumerate(small):
        lake.commit("products", files, attempt=f"{number}", partition=DAY)
    merged = product_file(lake, "a", "b")
    gone = [file.path for files in small for file in files]
    lake.commit("products", merged, attempt="compact", partition=DAY, remove=gone)
    assert ids(lake) == ["a", "b"]
    assert len(lake.files("products")) == 1


def test_a_table_of_another_schema_version_is_refused(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake(storage)
    lake.open("products")
    monkeypatch.setattr("jobs.lake.store.LAKE_SCHEMA_VERSION", 99)
    with pytest.raises(SchemaVersionError, match=r"schema version \d+, this code writes 99"):
        lake.open("products")


def test_statistics_prune_files_by_key(storage: Storage) -> None:
    lake = Lake(storage)
    lake.commit("products", product_file(lake, "a", "c"), attempt="1", partition=DAY)
    lake.commit("products", product_file(lake, "x", "z"), attempt="2", partition=DAY)
    pruned = lake.open("products").file_uris(file_pruning_predicate=[("product_id", "=", "y")])
    assert len(pruned) == 1


def test_an_empty_commit_empties_the_partition(storage: Storage) -> None:
    lake = Lake(storage)
    lake.commit("products", product_file(lake, "a"), attempt="1", partition=DAY)
    lake.commit("products", [], attempt="2", partition=DAY, mode="overwrite")
    assert ids(lake) == []


def test_a_conflict_is_known_by_its_type(tmp_path: Path) -> None:
    """The pinned deltalake raises it for two writers, for another schema and for properties; for nothing else here."""
    lake = Lake(Storage(str(tmp_path)))
    lake.open("products")
    writers = [lake.open("products") for _ in range(3)]
    alone = CommitProperties(max_commit_retries=0)

    def write(table: DeltaTable) -> None:
        rows = pa.Table.from_pylist([{"product_id": "a", "date": "2026-11-22"}], schema=TABLES["products"].schema)
        write_deltalake(table, rows, mode="overwrite", schema_mode="overwrite", commit_properties=alone)

    def describe(table: DeltaTable) -> None:
        table.alter.set_table_properties({"moon.test": "1"}, raise_if_not_exists=False, commit_properties=alone)

    write(writers[0])
    for act, stale in ((write, writers[1]), (describe, writers[2])):
        with pytest.raises(DeltaError) as lost:
            act(stale)
        assert is_commit_conflict(lost.value)
    with pytest.raises(DeltaError) as missing:
        DeltaTable(lake.storage.uri("nothing"))
    assert not is_commit_conflict(missing.value)
    with pytest.raises(DeltaError) as wrong:
        write_deltalake(lake.open("products"), pa.table({"other": [1]}), mode="append", commit_properties=alone)
    assert not is_commit_conflict(wrong.value)


@pytest.mark.parametrize("name", ["my shop", "a'b\"c {d} *?", "x:y #1 & é 🍵", "100% wool"])
def test_a_lake_in_a_folder_of_any_name(spark, make_settings, tmp_path: Path, name: str) -> None:
    lake = open_lake(make_settings(lake=str(tmp_path / name / "lake")))
    lake.commit("products", product_file(lake, "a", "b"), attempt="one", partition=DAY)
    assert {row.product_id for row in lake.read(spark, "products", DAY).collect()} == {"a", "b"}
    assert lake.read_arrow("products").num_rows == lake.count("products", DAY) == 2


@pytest.mark.parametrize("name", ["[1]", "a|b", "a%20b", "a^b"])
def test_a_folder_that_delta_cannot_open_is_refused(make_settings, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="Delta tables cannot have"):
        open_lake(make_settings(lake=str(tmp_path / name)))
