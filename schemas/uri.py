"""Canonical image URIs: one spelling for one image, and no dots that climb out of an allowed root.

Local files are ``file://`` plus the absolute path as it is (not percent-encoded), so that the path is
``uri[7:]`` and a prefix test against an allowed root is sound. Symbolic links are not followed here: whoever
opens a file checks where it really lies.
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
        text: what the catalogue says: a URL, a ``file:`` URI, an absolute path, or a path relative to `base_uri`.
        base_uri: canonical URI of a folder (see `folder_uri`).

    Returns:
        A URI with a lower-case scheme (and host of a web address), without ``.`` or ``..`` segments;
        control characters are percent-encoded. ``data:`` URIs are returned as they are. Never raises.
    """
    text = _CONTROL.sub(_percent, text.strip())
    if text.lower().startswith("data:"):
        return text
    if text.lower().startswith("file:"):
        path = re.sub(r"^file:(//(localhost)?(?=/))?", "", text, flags=re.IGNORECASE)
        return FILE_SCHEME + _absolute(_CONTROL.sub(_percent, unquote(path)))
    if _SCHEME.match(text):
        return _canonical_url(text)
    if text.startswith("//"):
        return _canonical_url("https:" + text)
    return _join_base(text, base_uri)


def folder_uri(folder: str) -> str:
    """Return the canonical URI of a folder given as a local path or a URI, without a trailing slash."""
    if _SCHEME.match(folder):
        return canonicalise_uri(folder, FILE_SCHEME + "/").rstrip("/")
    return FILE_SCHEME + _absolute(posixpath.abspath(folder))


def local_path(uri: str) -> str | None:
    """Return the path behind a canonical ``file://`` URI, None for every other scheme."""
    return uri[len(FILE_SCHEME) :] if uri.startswith(FILE_SCHEME) else None


def is_under(uri: str, roots: tuple[str, ...]) -> bool:
    """Tell whether a canonical URI lies inside one of the folders `roots` (canonical URIs)."""
    return any(uri.startswith(root.rstrip("/") + "/") for root in roots)


def _join_base(path: str, base_uri: str) -> str:
    if base_uri.startswith(FILE_SCHEME):
        return FILE_SCHEME + _absolute(posixpath.join(local_path(base_uri) or "/", path))
    if path.startswith("/"):
        parts = urlsplit(base_uri)
        return _canonical_url(f"{parts.scheme}://{parts.netloc}{path}")
    return _canonical_url(f"{base_uri.rstrip('/')}/{path}")


def _absolute(path: str) -> str:
    """Return the path from the root without dots, doubled slashes or a way above the root."""
    return posixpath.normpath("/" + path.lstrip("/"))


def _canonical_url(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:  # an unbalanced [ of an IPv6 address: no valid URL, refused later by its host
        return url
    path = _ENCODED_DOT.sub(".", parts.path)
    if path:
        slash = "/" if path.endswith("/") and path.strip("/") else ""
        path = _absolute(path).rstrip("/") + slash or "/"
    scheme = parts.scheme.lower()
    host = parts.netloc.lower() if scheme in ("http", "https") and "@" not in parts.netloc else parts.netloc
    return urlunsplit((scheme, host, path, parts.query, parts.fragment))


def _percent(match: re.Match[str]) -> str:
    return f"%{ord(match[0]):02X}"
