"""The image store: what goes in comes out."""

import io
from pathlib import Path

import pytest
from PIL import Image

from jobs.images import store
from jobs.images.store import ImageReader, StoredPart
from jobs.lake.store import Lake
from moon_model.images import BadImageError
from tests.jobs.images.photo_store import PHOTOS, list_packs, read_store


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


def test_photos_are_reduced_on_request_without_their_metadata() -> None:
    source = io.BytesIO()
    exif = Image.Exif()
    exif[0x8825] = {1: "N", 2: (52.0, 31.0, 0.0)}
    Image.new("RGB", (400, 300), "red").save(source, "JPEG", exif=exif)
    small = Image.open(io.BytesIO(store.shrink_image(source.getvalue(), 100)))
    assert small.size == (100, 75) and not small.getexif()
    assert store.shrink_image(b"no image", 100) == b"no image"
