"""Suggests allowed roots for a catalogue's images, besides the folder that their paths start from."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from jobs.catalog.samples import IMAGE_SUFFIXES, SampleRecord, quote_toml
from jobs.images.hosts import is_public, parse_site
from schemas.source import SourceMapping, map_record
from schemas.uri import is_under, is_web, local_path, split_site

MAX_ROOTS = 20
"""Hosts and folders that are suggested; a catalogue with more is one to think about."""

MAX_CHECKED_FILES = 500
"""Image files outside the base that are looked for."""

PRIVATE_REMARK = "# a private address: photos are fetched from your own network"


def suggest_image_roots(mapping: SourceMapping, records: Sequence[SampleRecord], folder: Path | None) -> list[str]:
    """Return the lines of `images.roots`: hosts of the records' photos, and folders outside the base with photos.

    Args:
        mapping: The suggested mapping.
        records: The first records.
        folder: The catalogue's folder; None for a remote catalogue.
    """
    base = mapping.resolve_image_base("/" if folder is None else str(folder.absolute()))
    uris = [image.uri for record in records for image in map_record(record, mapping, base).images]
    hosts = Counter(host for uri in uris if is_web(uri) if (host := _read_host(uri)) is not None)
    roots = sorted(host for host, _ in hosts.most_common(MAX_ROOTS))
    if folder is not None:
        roots += _list_folders(local_path(base), uris)[: MAX_ROOTS - len(roots)]
    if not any(map(_is_private, roots)):
        return [f"roots = [{', '.join(map(quote_toml, roots))}]"] if roots else []
    lines = [
        line for root in roots for line in ([PRIVATE_REMARK] if _is_private(root) else []) + [f"{quote_toml(root)},"]
    ]
    return ["roots = [", *(f"    {line}" for line in lines), "]"]


def _read_host(uri: str) -> str | None:
    """Return scheme and host of a web address; None if it has a user name, which must not be written to a file."""
    scheme, host, _ = split_site(uri)
    return f"{scheme}://{host}/" if host and "@" not in host else None


def _is_private(root: str) -> bool:
    if not is_web(root):
        return False
    try:
        site = parse_site(root)
    except ValueError:
        return False  # not a valid host
    is_local = site.host == "localhost" or site.host.endswith(".localhost")
    return is_local or (site.is_address and not is_public(site.host))


def _list_folders(base: str | None, uris: Iterable[str]) -> list[str]:
    """Return the folders outside the base that hold images of the records, without parents of the base."""
    if base is None:
        return []
    outside = dict.fromkeys(uri for uri in uris if not is_under(uri, (f"file://{base}",)))
    paths = (path for uri in outside if (path := local_path(uri)) is not None)
    places: dict[str, list[str]] = {}
    for path in islice(paths, MAX_CHECKED_FILES):
        if path.lower().endswith(IMAGE_SUFFIXES) and Path(path).is_file():
            shared = os.path.commonpath([base, path])
            # Photos are grouped by the folder next to the base: ../photos, with all its subfolders.
            top = os.path.relpath(path, shared).partition("/")[0]
            places.setdefault(f"{shared}/{top}", []).append(str(Path(path).parent))
    folders = (os.path.commonpath(found) for found in places.values())
    return sorted(folder for folder in folders if not is_under(f"file://{base}/", (f"file://{folder}",)))
