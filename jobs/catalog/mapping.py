"""Finds a catalogue, its mapping file and its image roots, and maps raw records to rows of `snapshots`.

It needs no Spark. The stage pull and check-source use the same functions, so they read the same rows.
"""

import os
import re
from datetime import date
from pathlib import Path, PurePosixPath

from jobs.catalog.records import ParsedRecord, guess_catalog_format
from jobs.errors import NightStoppedError
from jobs.settings import Settings
from schemas.source import MappedRow, MappingError, SourceMapping, is_of_snapshot, make_malformed_row, map_record
from schemas.source_values import as_text
from schemas.uri import FILE_SCHEME, folder_uri

_GLOB = re.compile(r"[*?\[\]{}]")


def catalog_folder(path: str) -> str:
    """Return the folder of a catalogue: the folder of a file, or the part of a glob before its first wildcard."""
    scheme, parts = path.split("://", 1) if "://" in path else ("", path)
    names = PurePosixPath(parts).parts
    globs = [index for index, name in enumerate(names) if _GLOB.search(name)]
    fixed = globs[0] if globs and not Path(path).exists() else len(names)
    if fixed == len(names) and (guess_catalog_format(names[-1]) or Path(path).is_file()):
        fixed -= 1
    folder = str(PurePosixPath(*names[:fixed]))
    return f"{scheme}://{folder}" if scheme else folder


def has_pattern(path: str) -> bool:
    """Return whether a catalogue's name has characters of a glob, or the ``{date}`` of a run."""
    return bool(_GLOB.search(path))


def list_mapping_files(folder: Path) -> list[Path]:
    """Return the paths at which the mapping of a catalogue is searched, the first choice first."""
    return [folder / "mapping.toml", folder.parent / "mapping.toml"]


def locate_catalog(settings: Settings, date: str) -> str:
    """Return the catalogue's location for a snapshot date: an absolute path or a URI, possibly with a glob.

    Raises:
        NightStoppedError: No catalogue is set.
    """
    if not settings.catalog:
        raise NightStoppedError("no catalogue: name it with --catalog PATH or MOON_CATALOG")
    path = settings.catalog.replace("{date}", date).removeprefix(FILE_SCHEME)
    return path if "://" in path else os.path.abspath(path)  # noqa: PTH100  (Path would merge a glob's //)


def read_mapping(settings: Settings, date: str) -> SourceMapping:
    """Return the mapping of the settings, else ``mapping.toml`` in the catalogue's folder or the one above.

    Raises:
        NightStoppedError: There is no mapping, or it cannot be used.
    """
    catalog = locate_catalog(settings, date)
    candidates = [Path(settings.mapping)] if settings.mapping else list_mapping_files(Path(catalog_folder(catalog)))
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise NightStoppedError(
            f"no mapping at {' or '.join(map(str, candidates))}: `moon check-source --catalog {catalog}` suggests "
            "one; save it in the catalogue's folder as mapping.toml or name it with --mapping FILE"
        )
    try:
        return SourceMapping.load(found)
    except MappingError as error:
        raise NightStoppedError(str(error)) from error


def read_allowed_roots(settings: Settings, date: str) -> tuple[str, ...]:
    """Return the canonical URIs of the folders that images may come from, by the settings, else by the mapping.

    Raises:
        NightStoppedError: Neither roots nor a catalogue are set.
    """
    if settings.allowed_roots:
        return tuple(folder_uri(root) for root in settings.allowed_roots)
    mapping = read_mapping(settings, date)
    return mapping.resolve_image_roots(catalog_folder(locate_catalog(settings, date)))


def map_parsed_record(
    parsed: ParsedRecord, mapping: SourceMapping, image_base: str, day: date | None = None, timezone: str = "UTC"
) -> MappedRow | None:
    """Return a record as a row of `snapshots`, or None for a record of another date.

    Args:
        parsed: The record; an unreadable record, or one without a date, becomes a row with an error.
        mapping: Source mapping: roles of the columns.
        image_base: Canonical URI that relative image paths start from.
        day: The snapshot date; None takes the records of all dates.
        timezone: Time zone of the shop, for timestamps that have a zone.
    """
    record = parsed.record
    if record is None:
        return make_malformed_row(parsed.error or "unreadable", parsed.salvaged, mapping)
    if mapping.snapshot is not None and not (as_text(record.get(mapping.snapshot)) or "").strip():
        return make_malformed_row(f"the snapshot column {mapping.snapshot!r} is empty", record, mapping)
    if day is not None and not is_of_snapshot(record, mapping, day, timezone):
        return None
    return map_record(record, mapping, image_base)
