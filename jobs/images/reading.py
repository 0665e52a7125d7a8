"""Reads bytes and versions of product images in place: files, and objects of a store.

A URI must be under an allowed root, first by its text (`schemas.uri`) and, for files, also by its path after symbolic
links are followed. A forbidden image is neither opened nor examined.
"""

import errno
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
from schemas.uri import FILE_SCHEME, is_under, is_web, local_path, mask_query
from validation.reasons import Reason

NO_FILE_ERRORS = (errno.ELOOP, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL, errno.ENXIO)
"""Errors that say what the path is, not that its store failed."""

MAX_IMAGE_BYTES = 64 << 20
"""Default limit of one encoded image: more than any photo of a shop has, less than would exhaust a worker's memory."""

ETAG_KEYS = ("ETag", "etag", "e_tag", "md5Hash", "content_md5")
MODIFIED_KEYS = ("mtime", "LastModified", "last_modified", "updated", "modified")
"""Names of the entity tag and of the time of the last change in what fsspec's stores return."""


def read_image(uri: str, allowed_roots: tuple[str, ...], max_bytes: int = MAX_IMAGE_BYTES) -> bytes:
    """Return the encoded bytes of an image; thread-safe.

    Args:
        uri: Canonical URI (`schemas.uri.canonicalise_uri`).
        allowed_roots: Canonical URIs of the folders that images may come from.
        max_bytes: A larger file is refused.

    Raises:
        BadImageError: With the reason image_forbidden, image_missing, image_unreachable, image_too_large or
            image_unreadable.
    """
    try:
        _check_spelling(uri, allowed_roots)
        if is_web(uri):
            raise BadImageError(Reason.IMAGE_UNREACHABLE, f"{mask_query(uri)} was not fetched into the image store")
        path = local_path(uri)
        data = _read_file(path, allowed_roots, max_bytes) if path is not None else _read_object(uri, max_bytes)
    except FileNotFoundError as error:
        raise BadImageError(Reason.IMAGE_MISSING, f"there is no {uri}") from error
    except OSError as error:
        reason = Reason.IMAGE_UNREADABLE if error.errno in NO_FILE_ERRORS else Reason.IMAGE_UNREACHABLE
        raise BadImageError(reason, f"{uri}: {error.strerror or error}") from error
    if len(data) > max_bytes:
        raise BadImageError(Reason.IMAGE_TOO_LARGE, f"{uri} has more than {max_bytes:,} bytes")
    return data


def read_image_version(uri: str, allowed_roots: tuple[str, ...], *, by_content: bool = False) -> str | None:
    """Return a text that changes whenever the image's bytes change; None for a missing, unreadable or forbidden image.

    It is the store's entity tag, else size and modification time in nanoseconds, so the image is not read. With
    `by_content`, or if the store has neither, it is the SHA-256 of the bytes.
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
    except Exception:  # clients of stores raise classes of their own
        return None  # the stage detect opens the image, meets the same error and reports it


def _check_spelling(uri: str, allowed_roots: tuple[str, ...]) -> None:
    if not is_under(uri, allowed_roots):
        raise BadImageError(Reason.IMAGE_FORBIDDEN, f"{mask_query(uri)} is not under an allowed root")


def _resolve_path(path: str, allowed_roots: tuple[str, ...]) -> str:
    """Return a path with symbolic links followed; a link that leaves the roots is forbidden."""
    real = os.path.realpath(path, strict=True)
    if not is_under(FILE_SCHEME + real, _resolve_roots(allowed_roots)):
        raise BadImageError(Reason.IMAGE_FORBIDDEN, f"{path} is a link that leaves the allowed roots")
    return real


@cache
def _resolve_roots(roots: tuple[str, ...]) -> tuple[str, ...]:
    paths = (local_path(root) for root in roots)
    return tuple(FILE_SCHEME + os.path.realpath(path) for path in paths if path is not None)


def _read_file(path: str, allowed_roots: tuple[str, ...], max_bytes: int) -> bytes:
    """Return the bytes of a regular file; it is opened without blocking, because a pipe would block."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(_resolve_path(path, allowed_roots), flags), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise BadImageError(Reason.IMAGE_UNREADABLE, f"{path} is no regular file")
        return file.read(max_bytes + 1)


def _open_filesystem(uri: str) -> fsspec.AbstractFileSystem:
    """Return the file system of a URI's scheme; fsspec's chained URLs (``a::b``) are not interpreted."""
    return fsspec.filesystem(urlsplit(uri).scheme)


def _read_object(uri: str, max_bytes: int) -> bytes:
    try:
        with _open_filesystem(uri).open(uri, "rb") as file:
            data: bytes = file.read(max_bytes + 1)
    except OSError:
        raise
    except Exception as error:  # clients raise classes of their own, which cost one image and never the run
        raise ConnectionError(f"{type(error).__name__}: {error}") from error
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
