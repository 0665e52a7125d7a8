"""Tests of the search for damaged files: logs, sizes, footers and checksums, each with file, consequence and remedy."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import EXIT_INPUT, DamageError
from jobs.lake.checking import DATA, LOG, Damage, find_lake_damage, find_table_damage
from jobs.lake.storage import Storage
from jobs.lake.store import Lake

PARTITION = {"collection": "moon_c"}


def cut(path: Path, size: int | None = None) -> None:
    """Truncate a file to half of its size, or to this size."""
    os.truncate(path, path.stat().st_size // 2 if size is None else size)


@pytest.fixture
def lake(tmp_path: Path, seed: Callable[..., None]) -> Lake:
    """A lake with two commits to the ledger."""
    found = Lake(Storage(str(tmp_path / "lake")))
    for epoch in (1, 2):
        rows = [{"product_id": f"p{epoch}{i}", "op": "upsert", "epoch": epoch} for i in range(50)]
        seed(found, "served", rows, PARTITION)
    return found


def path_of(lake: Lake, pattern: str) -> Path:
    return max(Path(lake.storage.uri("served")).glob(pattern))


def look(lake: Lake, **options: Any) -> list[Damage]:
    return find_table_damage(lake.storage, "served", **options)


def test_a_whole_lake_has_no_damage(lake: Lake) -> None:
    seen: list[tuple[str, int, int]] = []
    assert look(lake, deep=True, advance=lambda *state: seen.append(state)) == []
    assert seen[-1] == ("served", 2, 2)
    assert find_lake_damage(lake.storage) is None
    assert find_table_damage(lake.storage, "products") == [], "a table that was never made is not damaged"
    assert not Path(lake.storage.uri("products")).exists(), "and looking makes none"


@pytest.mark.parametrize(
    ("pattern", "damage", "says", "kind"),
    [
        ("_delta_log/*2.json", cut, "truncated", LOG),
        ("_delta_log/*2.json", lambda path: cut(path, 0), "is empty", LOG),
        ("_delta_log/*1.json", os.remove, "missing from the table's log", LOG),
        ("*/*.parquet", cut, "bytes, and the log says", DATA),
        ("*/*.parquet", os.remove, "is missing", DATA),
        ("_delta_log", shutil.rmtree, "is missing, and the table has files", LOG),
    ],
)
def test_damage_is_named_with_consequence_and_remedy(
    lake: Lake, pattern: str, damage: Callable[[Path], None], says: str, kind: str
) -> None:
    path = path_of(lake, pattern)
    damage(path)
    (found,) = look(lake)
    assert (found.table, found.kind) == ("served", kind)
    assert found.file == str(path.relative_to(lake.storage.uri()))
    for words in (found.file, says, "not known any more", "Remedy: put the file back"):
        assert words in str(found)
    assert find_lake_damage(lake.storage) == found


def test_flipped_bytes_are_found_by_a_footer_or_a_checksum(lake: Lake) -> None:
    path = path_of(lake, "*/*.parquet")
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(data)
    assert look(lake) == [], "its size is right"
    assert "Parquet" in look(lake, deep=True)[0].problem
    path.write_bytes(data[:-4] + b"XXXX")
    assert "Parquet" in look(lake)[0].problem


def test_a_table_is_read_from_its_checkpoint(lake: Lake) -> None:
    lake.open("served").create_checkpoint()
    path_of(lake, "_delta_log/*0.json").unlink()
    assert look(lake) == []
    cut(path_of(lake, "_delta_log/*.checkpoint.parquet"))
    assert ".checkpoint.parquet is no whole Parquet file" in str(look(lake)[0])


@pytest.mark.parametrize("pattern", ["_delta_log/*2.json", "*/*.parquet"])
@pytest.mark.parametrize("size", [None, 0])
def test_readers_of_damaged_files_say_so(lake: Lake, pattern: str, size: int | None) -> None:
    path = path_of(lake, pattern)
    cut(path, size)
    with pytest.raises(DamageError, match=path.name) as refused:
        lake.read_arrow("served", PARTITION)
    assert "Remedy" in str(refused.value) and refused.value.exit_status == EXIT_INPUT
