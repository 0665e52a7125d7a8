"""What has to go from the image store is gone, and nothing else."""

from pathlib import Path

from jobs.images import store
from jobs.images.upkeep import (
    delete_packs,
    drop_second_copies,
    find_product_photos,
    find_surplus,
    remove_images,
)
from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.lake.writing import FileSink
from tests.jobs.images.photo_store import PHOTOS, fill_store, list_packs, read_store


def test_removed_photos_are_gone_and_the_others_stay(lake: Lake) -> None:
    gone = set(list(PHOTOS)[:3])
    before = list_packs(lake)
    removed = remove_images(lake, gone)
    assert removed.images == 3 and removed.size == sum(len(PHOTOS[sha256]) for sha256 in gone)
    assert read_store(lake) == {sha256: data for sha256, data in PHOTOS.items() if sha256 not in gone}
    assert set(removed.packs) <= set(before)
    delete_packs(lake, removed.packs)
    left = b"".join(Path(lake.storage.uri(store.PACKS_FOLDER, name)).read_bytes() for name in list_packs(lake))
    assert not any(PHOTOS[sha256] in left for sha256 in gone)
    assert read_store(lake).keys() == PHOTOS.keys() - gone


def test_photos_that_a_retained_date_names_are_no_surplus(spark, lake: Lake) -> None:
    shas = list(PHOTOS)
    versions = FileSink(lake.storage, "image_versions", {"date": "2026-03-01"})
    versions.write_rows([{"uri": "https://h/0", "image_sha256": shas[0], "outcome": "fetched"}])
    lake.commit("image_versions", versions.close(), attempt=None, partition={"date": "2026-03-01"})
    products = FileSink(lake.storage, "products", {"date": "2026-02-01"})
    products.write_rows(
        [
            {"product_id": "p", "images": [{"uri": "https://h/1", "version": f"sha256:{shas[1]}"}]},
            {"product_id": "q", "images": [{"uri": "https://h/9", "version": f"sha256:{shas[1]}"}]},
        ]
    )
    lake.commit("products", products.close(), attempt=None, partition={"date": "2026-02-01"})
    assert find_surplus(spark, lake, 0) == set(shas[2:])
    kept = len(PHOTOS[shas[-1]])
    assert len(find_surplus(spark, lake, kept)) == 2
    assert find_surplus(spark, lake, 1 << 30) == set()
    assert find_product_photos(spark, lake, "p") == ({shas[1]}, 1)


def test_of_a_photo_that_two_tasks_stored_one_copy_stays(lake: Lake) -> None:
    assert drop_second_copies(lake) == 0
    first = {(row["pack"], row["offset"]) for row in lake.read_arrow("stored_images").to_pylist()}
    fill_store(lake)
    assert drop_second_copies(lake, dry_run=True) == len(PHOTOS) and len(lake.read_arrow("stored_images")) == 10
    assert drop_second_copies(lake) == len(PHOTOS)
    assert read_store(lake) == PHOTOS
    assert {(row["pack"], row["offset"]) for row in lake.read_arrow("stored_images").to_pylist()} == first
    assert len(list_packs(lake)) > len({pack for pack, _ in first}), "a running task may read the other copy"


def test_an_empty_store_has_no_second_copies(tmp_path: Path) -> None:
    assert drop_second_copies(Lake(Storage(str(tmp_path)))) == 0
