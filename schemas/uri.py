"""Canonical image URIs: one spelling per image, without ``..`` segments that would leave an allowed root.

The URI of a local file is ``file://`` plus its absolute path (not percent-encoded), so the path is ``uri[7:]`` and a
prefix test against an allowed root is safe. Symbolic links are not resolved: the code that opens a file has to check
its real path.
"""

import posixpath
import re
from urllib.parse import unquote, urlsplit, urlunsplit

FILE_SCHEME = "file://"

_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ENCODED_DOT = re.compile(r"%2e", re.IGNORECASE)


def canonicalise_uri(text: str, base_uri: str) -> str:
    """Return the absolute, canonical URI of an image.

    Args:
        text: the catalogue's value: a URL, a ``file:`` URI, an absolute path, or a path relative to `base_uri`.
        base_uri: canonical URI of a folder (see `folder_uri`).

    Returns:
        A URI with a lower-case scheme (and host of a web address), without ``.`` or ``..`` segments;
        control characters are percent-encoded. ``data:`` URIs are returned unchanged. Never raises.
    """
    text = _CONTROL.sub(_percent_encode, text.strip())
    if text.lower().startswith("data:"):
        return text
    if text.lower().startswith("file:"):
        path = re.sub(r"^file:(//(localhost)?(?=/))?", "", text, flags=re.IGNORECASE)
        return FILE_SCHEME + _normalise_path(_CONTROL.sub(_percent_encode, unquote(path)))
    if _SCHEME.match(text):
        return _canonicalise_url(text)
    if text.startswith("//"):
        return _canonicalise_url("https:" + text)
    return _join_base(text, base_uri)


def folder_uri(folder: str) -> str:
    """Return the canonical URI, without a trailing slash, of a folder given as a local path or a URI."""
    if _SCHEME.match(folder):
        return canonicalise_uri(folder, FILE_SCHEME + "/").rstrip("/")
    return FILE_SCHEME + _normalise_path(posixpath.abspath(folder))


def local_path(uri: str) -> str | None:
    """Return the path of a canonical ``file://`` URI, None for every other scheme."""
    return uri[len(FILE_SCHEME) :] if uri.startswith(FILE_SCHEME) else None


def is_under(uri: str, roots: tuple[str, ...]) -> bool:
    """Return whether a canonical URI is inside one of the folders `roots` (canonical URIs)."""
    return any(uri.startswith(root.rstrip("/") + "/") for root in roots)


def _join_base(path: str, base_uri: str) -> str:
    if base_uri.startswith(FILE_SCHEME):
        return FILE_SCHEME + _normalise_path(posixpath.join(local_path(base_uri) or "/", path))
    if path.startswith("/"):
        parts = urlsplit(base_uri)
        return _canonicalise_url(f"{parts.scheme}://{parts.netloc}{path}")
    return _canonicalise_url(f"{base_uri.rstrip('/')}/{path}")


def _normalise_path(path: str) -> str:
    """Return the absolute path without ``.`` and ``..`` segments or doubled slashes; it never leaves the root."""
    return posixpath.normpath("/" + path.lstrip("/"))


def _canonicalise_url(url: str) -> str:
    """Return the URL with lower-case scheme and host and without ``.`` and ``..`` segments."""
    try:
        parts = urlsplit(url)
    except ValueError:  # an unbalanced [ of an IPv6 address: no valid URL, refused later
        return url
    path = _ENCODED_DOT.sub(".", parts.path)
    if path:
        slash = "/" if path.endswith("/") and path.strip("/") else ""
        path = _normalise_path(path).rstrip("/") + slash or "/"
    scheme = parts.scheme.lower()
    host = parts.netloc.lower() if scheme in ("http", "https") and "@" not in parts.netloc else parts.netloc
    return urlunsplit((scheme, host, path, parts.query, parts.fragment))


def _percent_encode(match: re.Match[str]) -> str:
    return f"%{ord(match[0]):02X}"
