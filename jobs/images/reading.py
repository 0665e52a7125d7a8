"""Image bytes and image versions: the one door through which workers reach photos.

A URI must lie under an allowed root, first by its spelling (`schemas.uri`), then, for files, by where it really lies
once symbolic links are followed. A forbidden image is neither opened nor asked for its size.
"""

import hashlib
import os
import stat
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec

from moon_model.images import BadImageError
from schemas.uri import FILE_SCHEME, is_under, local_path
from validation.reasons import Reason

MAX_IMAGE_BYTES = 64 << 20
"""Default limit of one encoded image: above every photo a shop shows, below what would starve a worker."""

ETAG_KEYS = ("ETag", "etag", "e_tag", "md5Hash", "content_md5")
MODIFIED_KEYS = ("mtime", "LastModified", "last_modified", "updated", "modified")
"""Names that fsspec's stores give to an entity tag and to the time of the last change."""


def read_image(uri: str, allowed_roots: tuple[str, ...], max_bytes: int = MAX_IMAGE_BYTES) -> bytes:
    """Return the encoded bytes of an image; thread-safe.

    Args:
        uri: canonical URI (`schemas.uri.canonicalise_uri`).
        allowed_roots: canonical URIs of the folders that images may come from.
        max_bytes: a larger file is refused.

    Raises:
        BadImage: reason image_forbidden, image_missing, image_too_large or image_unreadable.
    """
    try:
        _check_spelling(uri, allowed_roots)
        path = local_path(uri)
        data = _read_file(path, allowed_roots, max_bytes) if path is not None else _read_object(uri, max_bytes)
    except FileNotFoundError as error:
        raise BadImageError(Reason.IMAGE_MISSING, f"there is no {uri}") from error
    except OSError as error:
        raise BadImageError(Reason.IMAGE_UNREADABLE, f"{uri}: {error.strerror or error}") from error
    if len(data) > max_bytes:
        raise BadImageError(Reason.IMAGE_TOO_LARGE, f"{uri} has more than {max_bytes:,} bytes")
    return data


def read_image_version(uri: str, allowed_roots: tuple[str, ...], *, by_content: bool = False) -> str | None:
    """Return what changes whenever the image's bytes do; null for a missing, unreadable or forbidden image.

    The store's entity tag, else size and modification time in nanoseconds: no byte of the image is read. Only a store
    that knows neither, or `by_content`, makes it the SHA-256 of the bytes.
    """
    try:
        if by_content:
            return _compute_file_digest(uri, allowed_roots)
        _check_spelling(uri, allowed_roots)
        path = local_path(uri)
        if path is None:
            return _read_object_version(uri) or _compute_file_digest(uri, allowed_roots)
        status = Path(_resolve_path(path, allowed_roots)).stat()
        return f"stat:{status.st_size}-{status.st_mtime_ns}" if stat.S_ISREG(status.st_mode) else None
    except (BadImageError, OSError):
        return None  # the detect stage opens the image, meets the same obstacle and names it


def _check_spelling(uri: str, allowed_roots: tuple[str, ...]) -> None:
    if not is_under(uri, allowed_roots):
        raise BadImageError(Reason.IMAGE_FORBIDDEN, f"{uri} is not under an allowed root")


def _resolve_path(path: str, allowed_roots: tuple[str, ...]) -> str:
    """Return where a path really lies; a symbolic link that leaves the roots is forbidden."""
    real = os.path.realpath(path, strict=True)
    if not is_under(FILE_SCHEME + real, _resolve_roots(allowed_roots)):
        raise BadImageError(Reason.IMAGE_FORBIDDEN, f"{path} is a link that leaves the allowed roots")
    return real


@cache
def _resolve_roots(roots: tuple[str, ...]) -> tuple[str, ...]:
    paths = (local_path(root) for root in roots)
    return tuple(FILE_SCHEME + os.path.realpath(path) for path in paths if path is not None)


def _read_file(path: str, allowed_roots: tuple[str, ...], max_bytes: int) -> bytes:
    """Read a regular file; a pipe would block for ever, so the open does not wait and the kind is checked."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(_resolve_path(path, allowed_roots), flags), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise BadImageError(Reason.IMAGE_UNREADABLE, f"{path} is no regular file")
        return file.read(max_bytes + 1)


def _open_filesystem(uri: str) -> fsspec.AbstractFileSystem:
    """Return the store of a URI by its scheme alone: fsspec's chained URLs (``a::b``) are never interpreted."""
    return fsspec.filesystem(urlsplit(uri).scheme)


def _read_object(uri: str, max_bytes: int) -> bytes:
    with _open_filesystem(uri).open(uri, "rb") as file:
        data: bytes = file.read(max_bytes + 1)
    return data


def _read_object_version(uri: str) -> str | None:
    info: Mapping[str, Any] = _open_filesystem(uri).info(uri)
    etag = next((info[name] for name in ETAG_KEYS if info.get(name)), None)
    if etag:
        return f"etag:{etag}".replace('"', "")
    modified = next((info[name] for name in MODIFIED_KEYS if info.get(name)), None)
    size = info.get("size")
    return f"stat:{size}-{modified}" if size is not None and modified else None


def _compute_file_digest(uri: str, allowed_roots: tuple[str, ...]) -> str:
    return "sha256:" + hashlib.sha256(read_image(uri, allowed_roots)).hexdigest()
