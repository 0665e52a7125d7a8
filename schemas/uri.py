"""Canonical image URIs: one spelling per image, without ``..`` segments that would leave an allowed root.

In a web address only scheme and host become lower case, and dot segments are resolved; everything else is kept,
including signatures and doubled slashes. The URI of a local file is ``file://`` plus its absolute path (not
percent-encoded), so the path is ``uri[7:]`` and a prefix test against an allowed root is safe. Symbolic links are not
resolved: the code that opens a file has to check its real path.
"""

import posixpath
import re
from functools import lru_cache
from urllib.parse import unquote

FILE_SCHEME = "file://"
WEB_SCHEMES = ("http", "https")
_WEB_STARTS = tuple(f"{scheme}://" for scheme in WEB_SCHEMES)

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
    return uri.startswith(_list_folders(roots))


def is_web(uri: str) -> bool:
    """Return whether a canonical URI is a web address (http or https), which the stage fetch requests."""
    return uri.startswith(_WEB_STARTS)


@lru_cache(1024)  # the client splits one address several times in a row
def split_site(url: str) -> tuple[str, str, str]:
    """Return the scheme, the host (with user and port) and the rest of a URL, each as written."""
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0]
    if "?" in host or "#" in host:
        host = re.split(r"[?#]", host, maxsplit=1)[0]
    return scheme, host, rest[len(host) :]


def mask_query(uri: str) -> str:
    """Return a URI for messages and logs, without query and user, which may contain secrets."""
    if not is_web(uri):
        return uri
    address, mark, _ = uri.partition("?")
    return re.sub(r"(?<=://)[^/]*@", "…@", address) + ("?…" if mark else "")


@lru_cache(16)
def _list_folders(roots: tuple[str, ...]) -> tuple[str, ...]:
    """Return each root with exactly one slash at its end."""
    return tuple(root.rstrip("/") + "/" for root in roots)


def _join_base(path: str, base_uri: str) -> str:
    if base_uri.startswith(FILE_SCHEME):
        return FILE_SCHEME + _normalise_path(posixpath.join(local_path(base_uri) or "/", path))
    if path.startswith("/"):
        scheme, host, _ = split_site(base_uri)
        return _canonicalise_url(f"{scheme}://{host}{path}")
    return _canonicalise_url(f"{base_uri.rstrip('/')}/{path}")


def _normalise_path(path: str) -> str:
    """Return the absolute path without ``.`` and ``..`` segments or doubled slashes; it never leaves the root."""
    return posixpath.normpath("/" + path.lstrip("/"))


def _canonicalise_url(url: str) -> str:
    """Return the URL with lower-case scheme and host and without ``.`` and ``..`` segments, otherwise as written."""
    scheme, host, rest = split_site(url)
    scheme = scheme.lower()
    if scheme in WEB_SCHEMES and "@" not in host:
        host = host.lower()
    path = re.split(r"[?#]", rest, maxsplit=1)[0]
    return f"{scheme}://{host}{_resolve_dot_segments(path)}{rest[len(path) :]}"


def _resolve_dot_segments(path: str) -> str:
    """Return a URL's path without ``.`` and ``..`` segments, also encoded ones; it never leaves the root."""
    segments = path.split("/")[1:]
    kept: list[str] = []
    for segment in segments:
        name = _ENCODED_DOT.sub(".", segment)
        if name == "..":
            del kept[-1:]
        elif name != ".":
            kept.append(segment)
    if segments and _ENCODED_DOT.sub(".", segments[-1]) in (".", ".."):
        kept.append("")
    return "".join(f"/{segment}" for segment in kept)


def _percent_encode(match: re.Match[str]) -> str:
    return f"%{ord(match[0]):02X}"
