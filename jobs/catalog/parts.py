"""Sorts the files of a delivery into data files and known other files, and stops the run for unknown ones.

The error names the file and the reason. A part of a catalogue that is not read would look like deleted products.
"""

from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from jobs.catalog.records import FORMAT_SUFFIXES, PACKED_SUFFIXES, guess_catalog_format

MAX_NAMED_PARTS = 10
"""Parts that the message of a refused delivery names."""

IGNORED_NAMES = ("_success", ".ds_store", "thumbs.db", "desktop.ini", "_metadata", "_common_metadata")
IGNORED_PREFIXES = ("_committed_", "_started_", "._")
IGNORED_SUFFIXES = (
    ".crc", ".toml", ".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".svg",
)  # fmt: skip
"""Names, beginnings and endings of files that hold no products: marks of writers, checksums, mappings, images."""


class UnreadableFileError(ValueError):
    """A file is broken as a whole, or a part of a delivery would not be read."""


def list_local_files(path: Path) -> dict[str, tuple[str, int]]:
    """Return (full path, bytes) of a file, or of every file below a folder, by the path relative to it."""
    if path.is_file():
        return {path.name: (str(path), path.stat().st_size)}
    files = (file for file in path.rglob("*") if file.is_file())
    return {file.relative_to(path).as_posix(): (str(file), file.stat().st_size) for file in files}


def select_data_files(catalog: str, files: Mapping[str, int], kind: str, archives: Collection[str] = ()) -> list[str]:
    """Return the data files of a delivery, sorted.

    Args:
        catalog: name of the delivery in messages.
        files: size by path relative to the catalogue's folder (its name, for a single file), including hidden files.
        kind: the mapping's format. If it is not "auto" and no file has a known suffix, all files are data.
        archives: files whose format comes from their members (`jobs.catalog.archives.find_member_format`).

    Raises:
        UnreadableFileError: there are none, or a part of the delivery would not be read.
    """
    _check_table_format(catalog, files)
    candidates = {name: size for name, size in files.items() if not is_ignored(name)}
    known = [name for name in candidates if guess_catalog_format(name)]
    chosen = known if known or kind == "auto" else list(candidates)
    problems = [
        f"{name} {why}" for name in sorted(candidates) if (why := _explain_loss(name, candidates[name], chosen))
    ]
    if problems:
        more = f"; and {len(problems) - MAX_NAMED_PARTS} more" if len(problems) > MAX_NAMED_PARTS else ""
        raise UnreadableFileError(
            f"parts of the delivery {catalog} would not be read: {'; '.join(problems[:MAX_NAMED_PARTS])}{more}. "
            "Nothing was changed. Deliver them again, name the files that are meant with a glob, or move others away"
        )
    if not chosen:
        raise UnreadableFileError(
            f"{catalog} holds no file that ends in {', '.join(FORMAT_SUFFIXES)} (or one of these and "
            f'{", ".join(PACKED_SUFFIXES)}); rename it, or say which it is with format = "…" in the mapping'
        )
    return sorted(chosen)


def is_ignored(name: str) -> bool:
    """Return whether a file is known to hold no products, by its name."""
    last = PurePosixPath(name).name.lower()
    return last in IGNORED_NAMES or last.startswith(IGNORED_PREFIXES) or last.endswith(IGNORED_SUFFIXES)


def has_subfolders(names: list[str]) -> bool:
    """Return whether files are in folders that are not partitions (``name=value``).

    Raises:
        UnreadableFileError: some folders are partitions and some are not.
    """
    folders = {folder for name in names for folder in PurePosixPath(name).parts[:-1]}
    plain = {folder for folder in folders if "=" not in folder}
    if plain and plain != folders:
        raise UnreadableFileError(
            f"some folders are partitions ({min(folders - plain)}) and some are not ({min(plain)}): name the folder or "
            "the files that are meant"
        )
    return bool(plain)


def _explain_loss(name: str, size: int, chosen: list[str]) -> str | None:
    """Return the reason why a file would not be read; None if it is read."""
    parts = PurePosixPath(name).parts
    hidden = next((part for part in parts if part[0] in "_." and "=" not in part), None)
    if name not in chosen:
        return f"has an unknown suffix (known are {', '.join(FORMAT_SUFFIXES)})"
    if hidden:
        return f"is hidden: {hidden} begins with {hidden[0]}, which writers use for what is not finished; rename it"
    if size == 0:
        return "is empty"
    if any(":" in part for part in parts):
        return "has a colon in its name, which Hadoop cannot read; rename it"
    return None


def _check_table_format(catalog: str, files: Mapping[str, int]) -> None:
    """Refuse folders of table formats, whose files include those of earlier versions and deleted rows."""
    for name in files:
        parts = PurePosixPath(name).parts
        if "_delta_log" in parts[:-1]:
            kind = "a Delta table"
        elif "metadata" in parts[:-1] and name.endswith(".metadata.json"):
            kind = "an Iceberg table"
        else:
            continue
        raise UnreadableFileError(
            f"{catalog} is {kind}: its files include deleted rows and earlier versions, so they cannot be read as they "
            "are. Export one version of it as Parquet"
        )
