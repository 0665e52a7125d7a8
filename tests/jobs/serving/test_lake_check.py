"""Tests of the check of the whole lake: packs of the image store, Milvus Lite, and what is taken out."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.images.store import PACKS_FOLDER, PackWriter
from jobs.lake.checking import Damage
from jobs.lake.store import Lake, open_lake
from jobs.serving.forgetting import BACKUP_ONLY, forget_damage
from jobs.serving.lake_check import MILVUS_LITE, find_all_damage
from jobs.settings import Settings
from tests.jobs.lake.test_checking import cut


@pytest.fixture
def settings(make_settings: Callable[..., Settings], seed: Callable[..., None]) -> Settings:
    """Settings of a lake with two packs of two photos each."""
    found = make_settings()
    lake = open_lake(found)
    for number in range(2):
        packs = PackWriter(lake.storage)
        photos = [f"photo {number} {place}".encode() * 9 for place in range(2)]
        seed(lake, "stored_images", [packs.add(hashlib.sha256(data).hexdigest(), data) for data in photos], {})
        packs.close()
    return found


def look(lake: Lake, settings: Settings, *, deep: bool = False) -> list[Damage]:
    return list(find_all_damage(lake, settings, deep=deep, advance=lambda *_: None))


@pytest.mark.parametrize("damage", [cut, Path.unlink])
def test_a_damaged_pack_is_found_and_its_photos_are_forgotten(
    settings: Settings, damage: Callable[[Path], None]
) -> None:
    lake = open_lake(settings)
    assert look(lake, settings, deep=True) == []
    pack = min(Path(settings.lake, PACKS_FOLDER).iterdir())
    damage(pack)
    (found,) = look(lake, settings)
    assert found.file == f"{PACKS_FOLDER}/{pack.name}" and "photos" in found.consequence
    (forgotten,) = forget_damage(lake, [found])
    assert forgotten.is_done and "moon fetch" in forgotten.next_step
    assert look(lake, settings, deep=True) == []
    assert len(lake.read_arrow("stored_images")) == 2


def test_other_bytes_in_a_pack_are_found_by_a_deep_look(settings: Settings) -> None:
    pack = min(Path(settings.lake, PACKS_FOLDER).iterdir())
    data = pack.read_bytes()
    pack.write_bytes(data[:3] + b"X" + data[4:])
    assert look(open_lake(settings), settings) == []
    (found,) = look(open_lake(settings), settings, deep=True)
    assert "1 photos with other bytes" in found.problem


def test_what_only_a_backup_brings_back_is_left(settings: Settings, seed: Callable[..., None]) -> None:
    lake = open_lake(settings)
    seed(lake, "models", [{"model_version": "m"}], {})
    cut(next(Path(settings.lake, "models").glob("*.parquet")))
    Path(settings.milvus).mkdir()
    Path(settings.milvus, "aliases.json").write_text("{")
    found = look(lake, settings)
    assert [one.table for one in found] == ["models", MILVUS_LITE]
    done = forget_damage(lake, found)
    assert [one.is_done for one in done] == [False, False]
    assert done[0].next_step == BACKUP_ONLY and "moon nightly" in done[1].next_step
    assert look(lake, settings) == found


def test_a_damaged_checkpoint_is_set_aside_where_the_commits_are_there(
    settings: Settings, seed: Callable[..., None]
) -> None:
    lake = open_lake(settings)
    lake.open("stored_images").create_checkpoint()
    cut(next(Path(settings.lake, "stored_images", "_delta_log").glob("*.checkpoint.parquet")))
    (found,) = look(lake, settings)
    (forgotten,) = forget_damage(lake, [found])
    assert forgotten.is_done
    assert look(lake, settings) == [] and len(lake.read_arrow("stored_images")) == 4
