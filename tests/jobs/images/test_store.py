"""Tests of the image store: stored bytes are read back, and deleted photos are gone."""

import hashlib
import io
from pathlib import Path

import pytest
from PIL import Image

from jobs.images import store
from jobs.images.store import ImageReader, PackWriter, StoredPart
from jobs.images.upkeep import delete_packs, find_product_photos, find_surplus, remove_images
from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.lake.writing import FileSink
from moon_model.images import BadImageError
from tests.image_host import draw_photo

PHOTOS = {hashlib.sha256(data).hexdigest(): data for data in map(draw_photo, range(5))}


def fill_store(lake: Lake) -> None:
    """Store all photos and commit their rows."""
    packs, sink = PackWriter(lake.storage), FileSink(lake.storage, "stored_images", {})
    for sha256, data in PHOTOS.items():
        row = packs.add(sha256, data)
        assert row is not None and packs.add(sha256, data) is None
        sink.write_rows([row])
    packs.close()
    lake.commit("stored_images", sink.close(), attempt=None, partition={})


def read_store(lake: Lake) -> dict[str, bytes]:
    reader = ImageReader(lake.storage, ())
    rows = lake.read_arrow("stored_images").to_pylist()
    return {
        row["image_sha256"]: reader.read("", StoredPart(**{k: row[k] for k in StoredPart.__annotations__}))
        for row in rows
    }


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setattr(store, "PACK_BYTES", 1500)  # two photos a pack
    lake = Lake(Storage(str(tmp_path / "my lake")))
    fill_store(lake)
    return lake


def list_packs(lake: Lake) -> list[str]:
    return sorted(path.name for path in Path(lake.storage.uri(store.PACKS_FOLDER)).iterdir())


def test_photos_come_back_byte_for_byte_from_packs_of_bounded_size(lake: Lake) -> None:
    assert read_store(lake) == PHOTOS
    assert 1 < len(list_packs(lake)) < len(PHOTOS)


def test_a_damaged_or_lost_pack_costs_its_photos_only(lake: Lake) -> None:
    row = lake.read_arrow("stored_images").to_pylist()[0]
    part = StoredPart(pack=row["pack"], offset=row["offset"], size=row["size"], checksum=row["checksum"])
    path = Path(lake.storage.uri(store.PACKS_FOLDER, row["pack"]))
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(BadImageError, match="damaged"):
        ImageReader(lake.storage, ()).read("", part)
    path.unlink()
    with pytest.raises(BadImageError, match="cannot read"):
        ImageReader(lake.storage, ()).read("", part)


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


def test_photos_are_reduced_on_request_without_their_metadata() -> None:
    source = io.BytesIO()
    exif = Image.Exif()
    exif[0x8825] = {1: "N", 2: (52.0, 31.0, 0.0)}
    Image.new("RGB", (400, 300), "red").save(source, "JPEG", exif=exif)
    small = Image.open(io.BytesIO(store.shrink_image(source.getvalue(), 100)))
    assert small.size == (100, 75) and not small.getexif()
    assert store.shrink_image(b"no image", 100) == b"no image"
