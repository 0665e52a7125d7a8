"""Finds the mapping file of a catalogue, and maps raw records to rows of `snapshots`.

It needs no Spark. The stage pull and check-source use the same functions, so they read the same rows.
"""

import re
from datetime import date
from pathlib import Path, PurePosixPath

from jobs.catalog.records import ParsedRecord, guess_catalog_format
from schemas.source import MappedRow, SourceMapping, is_of_snapshot, make_malformed_row, map_record
from schemas.source_values import as_text

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
