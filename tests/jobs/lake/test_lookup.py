"""Tests of lookups: rows by key from several files and partitions, any characters, nothing created, damage named."""

from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.errors import DamageError
from jobs.lake.lookup import find_rows, iter_batches
from jobs.lake.storage import Storage
from jobs.lake.store import Lake

IDS = ["a", "b'\"", "é%\\", "zz"]


@pytest.fixture
def lake(tmp_path: Path, seed: Callable[..., None]) -> Lake:
    lake = Lake(Storage(str(tmp_path / "lake")))
    for day in (1, 2):
        rows = [{"product_id": name, "source_row": 10 * day + row} for row, name in enumerate(IDS[day - 1 :])]
        seed(lake, "products", rows, {"date": f"2026-01-0{day}"})
    return lake


@pytest.mark.parametrize("name", IDS)
def test_rows_of_one_key(lake: Lake, name: str) -> None:
    found = find_rows(lake, "products", [name], columns=["product_id", "date"])
    assert {row["product_id"] for row in found} == {name}
    assert len(found) == (1 if name == "a" else 2)
    assert len(find_rows(lake, "products", [name], partition={"date": "2026-01-01"})) == 1


def test_rows_of_several_keys_and_of_another_column(lake: Lake) -> None:
    found = find_rows(lake, "products", ["a", "zz", "absent"], columns=["product_id"])
    assert sorted(row["product_id"] for row in found) == ["a", "zz", "zz"]
    assert [row["product_id"] for row in find_rows(lake, "products", [21], by="source_row")] == ["é%\\"]
    assert find_rows(lake, "products", []) == find_rows(lake, "products", ["absent"]) == []
    batches = iter_batches(lake, "products", ["product_id"], {"date": "2026-01-02"})
    assert [name for batch in batches for name in batch.column(0).to_pylist()] == IDS[1:]


def test_a_table_that_is_not_there_is_not_created(lake: Lake) -> None:
    assert find_rows(lake, "vectors", ["a"]) == [] == list(iter_batches(lake, "served", ["op"], {"collection": "c"}))
    assert not lake.exists("vectors") and not lake.exists("served")


def test_a_damaged_file_is_named(lake: Lake) -> None:
    file = next(Path(lake.storage.uri("products")).rglob("*.parquet"))
    file.write_bytes(b"PAR1" + file.read_bytes()[4:40])
    with pytest.raises(DamageError, match=file.name):
        find_rows(lake, "products", IDS)
    with pytest.raises(DamageError, match=file.name):
        [*iter_batches(lake, "products", ["title"], {"date": file.parent.name.removeprefix("date=")})]
