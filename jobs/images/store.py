"""Stores photos of web hosts in the lake, in pack files of bounded size, and reads them by their SHA-256.

A task writes packs and describes their content as rows of `stored_images`; the driver commits the rows. A pack whose
rows were never committed is swept by `moon maintain`.
"""

import hashlib
import io
import uuid
import zlib
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple, TypedDict

import pyarrow as pa
from PIL import Image, ImageOps

from jobs import fault_points
from jobs.images.reading import read_image
from jobs.lake.storage import Storage
from moon_model.images import BadImageError, decode_image
from validation.reasons import Reason

PACKS_FOLDER = "_images"
PACK_BYTES = 256 << 20
"""A pack is closed when it has this many bytes."""

WRITE_BYTES = 1 << 20
"""A pack grows by at least this many bytes at a time: one write for each photo takes twice as long."""

OPEN_PACKS = 32
JPEG_QUALITY = 90


class StoredPart(TypedDict):
    """Location of a photo's bytes in a pack, from `stored_images`."""

    pack: str
    offset: int
    size: int
    checksum: int


class PhotoHashes(NamedTuple):
    """Hashes of a photo's bytes as delivered: SHA-256 as 64 hex digits, and CRC-32."""

    sha256: str
    checksum: int

    @classmethod
    def compute(cls, data: bytes) -> "PhotoHashes":
        """Return the hashes of these bytes."""
        return cls(hashlib.sha256(data).hexdigest(), zlib.crc32(data))


class PackWriter:
    """Appends photos to the packs of one task, each photo once.

    Args:
        storage: the lake's root.
        side: longer side to which photos are reduced; 0 keeps them as delivered.
    """

    def __init__(self, storage: Storage, side: int = 0) -> None:
        self._storage = storage
        self._side = side
        self._stream: pa.NativeFile | None = None
        self._pack = ""
        self._offset = 0
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._known: set[str] = set()

    def add(self, sha256: str, data: bytes, checksum: int | None = None) -> dict[str, object] | None:
        """Append a photo's bytes; return its row of `stored_images`, or None if this task has stored it before.

        Args:
            sha256: SHA-256 of the bytes as delivered, 64 hex digits.
            data: the bytes as delivered.
            checksum: their CRC-32, if it is known.
        """
        if sha256 in self._known:
            return None
        self._known.add(sha256)
        if self._side:
            data, checksum = shrink_image(data, self._side), None
        if self._stream is None:
            self._open_pack()
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes >= WRITE_BYTES:
            self._write()
        row = {
            "image_sha256": sha256,
            "pack": self._pack,
            "offset": self._offset,
            "size": len(data),
            "checksum": zlib.crc32(data) if checksum is None else checksum,
            "stored_at": datetime.now(UTC),
        }
        self._offset += len(data)
        if self._offset >= PACK_BYTES:
            self.close()
        return row

    def close(self) -> None:
        """Finish the open pack."""
        if self._stream is not None:
            self._write()
            with fault_points.surround("close.pack"):
                self._stream.close()
        self._stream = None

    def _write(self) -> None:
        assert self._stream is not None  # noqa: S101  (a waiting photo has its place in the open pack)
        with fault_points.surround("write.pack"):
            self._stream.write(b"".join(self._waiting))
        self._waiting, self._waiting_bytes = [], 0

    def _open_pack(self) -> None:
        filesystem, root = self._storage.open()
        if self._storage.is_local:  # a store has no folders
            filesystem.create_dir(f"{root}/{PACKS_FOLDER}", recursive=True)
        self._pack, self._offset = f"{uuid.uuid4()}.pack", 0
        self._stream = filesystem.open_output_stream(f"{root}/{PACKS_FOLDER}/{self._pack}")


class ImageReader:
    """Reads the images of a task: photos by URL from the image store, all others in place; thread-safe.

    Args:
        storage: the lake's root.
        roots: canonical URIs of the folders that images may come from.
    """

    def __init__(self, storage: Storage, roots: tuple[str, ...]) -> None:
        self._filesystem, root = storage.open()
        self._folder = f"{root}/{PACKS_FOLDER}"
        self._roots = roots
        self._open = lru_cache(OPEN_PACKS)(self._open_pack)

    def read(self, uri: str, stored: StoredPart | None) -> bytes:
        """Return the encoded bytes of an image.

        Args:
            uri: canonical URI.
            stored: location in the image store; None reads the URI itself.

        Raises:
            BadImageError: as in `jobs.images.reading.read_image`; image_unreachable if the store has lost the photo.
        """
        if stored is None:
            return read_image(uri, self._roots)
        pack = stored["pack"]
        try:
            data: bytes = self._open(pack).read_at(stored["size"], stored["offset"])
        except OSError as error:
            raise BadImageError(Reason.IMAGE_UNREACHABLE, f"the image store cannot read {pack}: {error}") from error
        if len(data) != stored["size"] or zlib.crc32(data) != stored["checksum"]:
            raise BadImageError(Reason.IMAGE_UNREACHABLE, f"the image store's file {pack} is damaged")
        return data

    def _open_pack(self, pack: str) -> pa.NativeFile:
        return self._filesystem.open_input_file(f"{self._folder}/{pack}")


def shrink_image(data: bytes, side: int) -> bytes:
    """Return a photo as JPEG whose longer side has at most this many pixels, without metadata such as GPS.

    Bytes that cannot be decoded stay as they are: the stage detect refuses them with the reason.
    """
    try:
        image = decode_image(data)
    except BadImageError:
        return data
    small = ImageOps.contain(image, (side, side), Image.Resampling.LANCZOS) if max(image.size) > side else image
    target = io.BytesIO()
    small.save(target, "JPEG", quality=JPEG_QUALITY)
    return target.getvalue()
