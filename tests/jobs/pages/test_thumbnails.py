"""Tests of thumbnails: where photos are read, that they are upright and small, and what is not shown."""

import base64
import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.pages.thumbnails import Picture, ThumbnailLimits, ThumbnailMaker, make_thumbnail
from moon_model.images import BadImageError
from tests.image_host import open_image_host
from tests.jobs.images.photo_store import PHOTOS, fill_store

LEFT_RED = Image.new("RGB", (400, 200), "blue")
LEFT_RED.paste("red", (0, 0, 200, 200))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(Storage(str(tmp_path / "lake")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    LEFT_RED.save(folder / "a.png")
    (tmp_path / "secret.png").write_bytes((folder / "a.png").read_bytes())
    return folder


def make_maker(lake: Lake, folder: Path, **limits: float) -> ThumbnailMaker:
    return ThumbnailMaker(lake, (f"file://{folder}/",), ThumbnailLimits(**limits))  # type: ignore[arg-type]


def open_uri(uri: str | None) -> Image.Image:
    assert uri is not None
    start, _, text = uri.partition(",")
    assert start == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")


def make_bomb() -> bytes:
    """Return a small PNG whose header announces 60,000 × 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def test_a_file_is_shown_small_or_only_the_part_in_a_box(lake: Lake, folder: Path) -> None:
    maker = make_maker(lake, folder)
    whole = open_uri(maker.make(Picture(f"file://{folder}/a.png")))
    assert whole.size == (160, 80)
    assert whole.getpixel((20, 40))[0] > 200 and whole.getpixel((140, 40))[2] > 200  # type: ignore[index]
    part = open_uri(maker.make(Picture(f"file://{folder}/a.png", box=(0.5, 0.0, 1.0, 1.0))))
    assert part.size == (160, 160) and part.getpixel((5, 80))[2] > 200  # type: ignore[index]
    assert maker.shown == 2 and not lake.exists("stored_images"), "showing a picture makes no table"


def test_a_photo_is_turned_by_its_exif_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    target = io.BytesIO()
    LEFT_RED.save(target, "JPEG", exif=exif)
    turned = open_uri(make_thumbnail(target.getvalue()))
    assert turned.size == (80, 160) and turned.getpixel((40, 10))[0] > 200  # type: ignore[index]


def test_a_stored_photo_is_read_from_its_pack_and_never_from_its_host(lake: Lake, folder: Path) -> None:
    fill_store(lake)
    sha256 = next(iter(PHOTOS))
    with open_image_host() as host:
        uri = f"{host.url}/a.jpg"
        maker = ThumbnailMaker(lake, (f"{host.url}/",))
        stored = [Picture(uri, f"sha256:{sha256}"), Picture(uri, "sha256:" + "0" * 64), Picture(uri)]
        maker.locate(stored)
        assert open_uri(maker.make(stored[0])).size == Image.open(io.BytesIO(PHOTOS[sha256])).size
        assert maker.make(stored[1]) is None and maker.make(stored[2]) is None
        assert not host.requests


def test_what_cannot_be_shown_is_none(lake: Lake, folder: Path) -> None:
    (folder / "bomb.png").write_bytes(make_bomb())
    (folder / "page.png").write_text("<html>")
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    maker = make_maker(lake, folder)
    for name in ("bomb.png", "page.png", "absent.png", "link.png", "../secret.png", ""):
        assert maker.make(Picture(f"file://{folder}/{name}")) is None, name
    assert maker.make(None) is None
    assert maker.make(Picture("s3://bucket/a.png")) is None
    assert maker.shown == maker.left_out == 0
    with pytest.raises(BadImageError, match="image_too_large"):
        make_thumbnail(make_bomb())


@pytest.mark.parametrize(("limits", "shown"), [({"pictures": 2}, 2), ({"total_bytes": 500}, 2), ({"seconds": 0.0}, 0)])
def test_limits_leave_pictures_out_and_count_repeated_ones(
    lake: Lake, folder: Path, limits: dict[str, float], shown: int
) -> None:
    maker = make_maker(lake, folder, **limits)
    made = [maker.make(Picture(f"file://{folder}/a.png")) for _ in range(5)]
    assert sum(uri is not None for uri in made) == maker.shown == shown
    assert maker.left_out == 5 - shown
    assert maker.shown_bytes == sum(len(uri or "") for uri in made) <= maker.limits.total_bytes
