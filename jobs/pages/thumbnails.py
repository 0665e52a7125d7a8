"""Makes small pictures of products for pages, as ``data:`` URIs: a page with them needs no other file.

Photos are read from the image store or from files under the allowed roots, never from the network, with the checks of
the stages (`jobs.images.reading`, `moon_model.images`). A photo that cannot be shown is no error.
"""

import base64
import io
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

import pyarrow.dataset as ds
from PIL import Image, ImageOps

from jobs.catalog.source import list_allowed_roots
from jobs.errors import MoonError
from jobs.images.store import ImageReader, StoredPart
from jobs.lake.store import Lake
from jobs.state.run_context import RunContext
from moon_model.detection.region import Box
from moon_model.images import BadImageError, crop_image, decode_image
from schemas.product import SHA256_PREFIX
from schemas.tables import STORED_IMAGES
from schemas.uri import local_path

log = logging.getLogger(__name__)

SIDE = 160
"""Longer side of a thumbnail in pixels: sharp at 80 CSS pixels on a phone, readable on a desktop."""

QUALITY = 60
CACHED = 512
"""Thumbnails that are kept, because a page shows a product in several places."""


@dataclass(frozen=True)
class Picture:
    """A photo to show.

    Attributes:
        uri, version: the photo as in ``products.images``.
        box: part of it (x0, y0, x1, y1 as shares of width and height); None shows all of it.
    """

    uri: str
    version: str | None = None
    box: Box | None = None


@dataclass(frozen=True)
class ThumbnailLimits:
    """What the thumbnails of one page may take.

    Attributes:
        pictures: thumbnails that are shown; repeated ones count again, because the page holds them again.
        total_bytes: length of their URIs.
        seconds: time for reading and decoding.
    """

    pictures: int = 500
    total_bytes: int = 3 << 20
    seconds: float = 20.0


@dataclass
class ThumbnailMaker:
    """Makes the thumbnails of one page; once a limit is reached, no more.

    Attributes:
        lake: the lake with the image store.
        roots: canonical URIs of the folders that photos may come from; none: only photos of the store.
        limits: what all thumbnails together may take.
        shown, shown_bytes, left_out: thumbnails made so far, the length of their URIs, and pictures that a limit
            left out.
    """

    lake: Lake
    roots: tuple[str, ...] = ()
    limits: ThumbnailLimits = field(default_factory=ThumbnailLimits)
    shown: int = 0
    shown_bytes: int = 0
    left_out: int = 0

    def __post_init__(self) -> None:
        """Start with an empty cache and all the time."""
        self._reader = ImageReader(self.lake.storage, self.roots)
        self._stored: dict[str, StoredPart] = {}
        self._asked: set[str] = set()
        self._seconds = 0.0
        self._make = lru_cache(CACHED)(self._encode)

    def locate(self, pictures: Iterable[Picture]) -> None:
        """Look up in one read where the image store keeps these photos; `make` alone reads the table each time."""
        start = time.monotonic()
        keys = {picture.version for picture in pictures if picture.version is not None}
        keys = {key for key in keys if key.startswith(SHA256_PREFIX)} - self._asked
        if keys and self.lake.exists(STORED_IMAGES.name):
            self._stored |= _read_parts(self.lake, {key.removeprefix(SHA256_PREFIX) for key in keys})
        self._asked |= keys
        self._seconds += time.monotonic() - start

    def make(self, picture: Picture | None) -> str | None:
        """Return a picture as a ``data:`` URI; None where the photo cannot be shown or a limit is reached."""
        if picture is None:
            return None
        if self.shown >= self.limits.pictures or self._seconds >= self.limits.seconds:
            self.left_out += 1
            return None
        self.locate([picture])
        start = time.monotonic()
        uri = self._make(picture)
        self._seconds += time.monotonic() - start
        if uri is None:
            return None
        if self.shown_bytes + len(uri) > self.limits.total_bytes:
            self.left_out += 1
            return None
        self.shown += 1
        self.shown_bytes += len(uri)
        return uri

    def _encode(self, picture: Picture) -> str | None:
        stored = self._stored.get(picture.version or "")
        if stored is None and local_path(picture.uri) is None:
            return None  # a web host or an object store: a page never waits for the network
        try:
            data = self._reader.read(picture.uri, stored)
            return make_thumbnail(data, picture.box)
        except BadImageError as error:
            log.info("no thumbnail: %s", error)
            return None


def make_thumbnail_maker(context: RunContext) -> ThumbnailMaker:
    """Return a maker that reads the photos that the run may read; without a catalogue, those of the image store."""
    try:
        roots = list_allowed_roots(context)
    except MoonError as error:
        log.info("only stored photos are shown: %s", error)
        roots = ()
    return ThumbnailMaker(context.lake, roots)


def make_thumbnail(data: bytes, box: Box | None = None, side: int = SIDE) -> str:
    """Return a photo, or a part of it, as a small upright picture in a ``data:`` URI (WebP).

    Args:
        data: encoded bytes of the photo; nobody has checked them.
        box: part to show (x0, y0, x1, y1 as shares of width and height); an impossible one shows all.
        side: longer side in pixels; smaller photos are not enlarged.

    Raises:
        BadImageError: the photo cannot be decoded, or its header announces too many pixels.
    """
    image = decode_image(data, min_side=2 * side)
    if box is not None and 0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1:
        image = crop_image(image, box)
    small = ImageOps.contain(image, (side, side), Image.Resampling.LANCZOS) if max(image.size) > side else image
    target = io.BytesIO()
    small.save(target, "WEBP", quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(target.getvalue()).decode()


def _read_parts(lake: Lake, sha256s: set[str]) -> dict[str, StoredPart]:
    """Return the locations of stored photos by their version (``sha256:…``)."""
    rows = lake.read_arrow(STORED_IMAGES.name, where=ds.field("image_sha256").isin(sorted(sha256s))).to_pylist()
    return {
        SHA256_PREFIX + row["image_sha256"]: StoredPart(
            pack=row["pack"], offset=row["offset"], size=row["size"], checksum=row["checksum"]
        )
        for row in rows
    }
