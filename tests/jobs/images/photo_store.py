"""An image store with five photos, for the tests of what is done with it."""

import hashlib
from pathlib import Path

from jobs.images.store import PACKS_FOLDER, ImageReader, PackWriter, StoredPart
from jobs.lake.store import Lake
from jobs.lake.writing import FileSink
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


def list_packs(lake: Lake) -> list[str]:
    return sorted(path.name for path in Path(lake.storage.uri(PACKS_FOLDER)).iterdir())
