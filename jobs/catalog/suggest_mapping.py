"""Suggests a source mapping from the names and values of a catalogue's columns.

Layouts of known platforms (`jobs.catalog.presets`) are tried first; all others are guessed here, column by column.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jobs.catalog.image_roots import suggest_image_roots
from jobs.catalog.presets import PresetMapping, find_preset
from jobs.catalog.samples import IMAGE_SUFFIXES, SampleRecord, find_image_base, list_values, quote_list, quote_toml
from schemas.source_mapping import SourceMapping
from schemas.source_values import as_link, as_list, as_text, parse_attributes

ID_NAMES = ("id", "productid", "itemid", "sku", "articlenumber", "articleno", "productcode", "asin", "gtin", "ean",
            "artikelnr", "artikelnummer", "code", "uid", "docid", "handle")  # fmt: skip
TITLE_NAMES = ("title", "doctitle", "producttitle", "name", "productname", "producttitle", "itemname", "headline",
               "bezeichnung", "titel", "classname", "label")  # fmt: skip
DESCRIPTION_NAMES = ("description", "productdescription", "desc", "longdescription", "shortdescription", "body",
                     "summary", "beschreibung", "text", "details", "bodyhtml")  # fmt: skip
CATEGORY_NAMES = ("category", "categories", "categorypath", "producttype", "type", "department", "taxonomy",
                  "breadcrumb", "breadcrumbs", "productcategory", "googleproductcategory", "warengruppe", "kategorie",
                  "coarseclassname", "industry", "docindustryname", "class", "group")  # fmt: skip
ATTRIBUTE_NAMES = ("attributes", "attrs", "docattributes", "properties", "specs", "specifications", "features",
                   "facets", "merkmale", "details")  # fmt: skip
IMAGE_NAMES = ("images", "image", "imageurls", "imageurl", "imagelink", "imagepath", "imagepaths", "docimage", "img",
               "pictures", "picture", "pics", "photo", "photos", "thumbnail", "bild", "bilder", "iconicimagepath",
               "mainimage", "src")  # fmt: skip
VERSION_NAMES = ("imageversions", "imageversion", "imageetag", "imagehash", "imagesha256", "imageupdatedat",
                 "imagemodified")  # fmt: skip
SNAPSHOT_NAMES = ("snapshotdate", "snapshot", "ds", "dt", "partitiondate", "exportdate")
NO_ATTRIBUTE_PATTERN = re.compile(
    r"\b_?id\b|price|cost|stock|quantity|qty|rating|review|url|link|date|time|created|updated|version|currency|position|rank",
    re.IGNORECASE,
)
"""Columns that change without the product changing: as attributes they would re-encode it in every run."""

LEVEL_PATTERN = re.compile(
    r"^(?P<stem>.*?(?:cat|level|lvl|department|class).*?)(?P<level>\d)(?P<rest>\D*)$", re.IGNORECASE
)
PATH_SEPARATORS = (" > ", ">", "/", "|", ";", ",")
MAX_LISTED_FILES = 2_000
"""Image files whose names are compared with the columns' values."""


class NoMappingError(ValueError):
    """No column looks like the id, or none like the title; the message explains what to write."""


def suggest_mapping(columns: Sequence[str], records: Sequence[SampleRecord], folder: Path | None) -> str:
    """Return the TOML text of a mapping that fits the columns and sample values.

    Args:
        columns: The source's columns, in order.
        records: The first records.
        folder: The catalogue's folder, where image files are looked for; None for a remote catalogue.

    Raises:
        NoMappingError: No column looks like an id, or none like a title.
    """
    found = find_preset(columns, records, folder) or _guess_mapping(columns, records, folder)
    snapshot = _take(list(columns), SNAPSHOT_NAMES, lambda c: _holds_for_most(c, records, _is_day))
    lines = [*found.lines, *([f"snapshot = {quote_toml(snapshot)}"] if snapshot is not None else [])]
    if not found.images:
        return _join_checked(lines)
    lines += ["", "[images]", *found.images]
    mapping = SourceMapping.parse(_join_checked(lines))
    return _join_checked([*lines, *suggest_image_roots(mapping, records, folder)])


def _join_checked(lines: Sequence[str]) -> str:
    """Return the lines as the text of a mapping file."""
    text = "\n".join(lines) + "\n"
    SourceMapping.parse(text, "the suggested mapping")
    return text


def _guess_mapping(columns: Sequence[str], records: Sequence[SampleRecord], folder: Path | None) -> PresetMapping:
    """Return a mapping by the names and values of the columns.

    Raises:
        NoMappingError: No column looks like an id, or none like a title.
    """
    free = list(columns)
    product_id = _take(free, ID_NAMES, lambda c: _is_filled(c, records) and _is_distinct(c, records))
    title = _take(free, TITLE_NAMES, lambda c: _is_filled(c, records))
    if product_id is None or title is None:
        missing = "product id" if product_id is None else "title"
        raise NoMappingError(
            f"no column looks like the {missing} (columns: {', '.join(columns)}); write the mapping yourself, see "
            "docs/mapping.md"
        )
    lines = [f"id = {quote_toml(product_id)}", f"title = {quote_toml(title)}"]
    description = _take(free, DESCRIPTION_NAMES, lambda c: _holds_for_most(c, records, _is_prose))
    if description is not None:
        lines.append(f"description = {quote_toml(description)}")
    _take(free, SNAPSHOT_NAMES, lambda c: _holds_for_most(c, records, _is_day))  # the date is not an attribute
    images = _suggest_images(free, columns, records, folder)
    lines += _suggest_category(free, records)
    lines += _suggest_attributes(free, records)
    return PresetMapping(lines, images)


def normalise_column_name(name: str) -> str:
    """Return a column name without case, punctuation, and remarks in brackets."""
    return re.sub(r"[\W_]+", "", re.sub(r"\(.*?\)|\[.*?\]", "", name)).lower()


def _take(free: list[str], names: Sequence[str], fits: Callable[[str], bool]) -> str | None:
    """Remove and return the column whose name is the most likely one and whose values fit."""
    ranked = sorted((_rank(column, names), place) for place, column in enumerate(free))
    for rank, place in ranked:
        if rank < len(names) * 2 and fits(free[place]):
            return free.pop(place)
    return None


def _rank(column: str, names: Sequence[str]) -> int:
    """Return the rank of a name: its position in the list, or a later one if it only contains a known name."""
    name = normalise_column_name(column)
    if name in names:
        return names.index(name)
    if names is ID_NAMES and re.search(r"(_|\W|[a-z])I[dD]\s*(\(.*)?$|[_\W]id\s*(\(.*)?$", column):
        return len(names)
    inside = [
        place
        for place, known in enumerate(names)
        if len(known) > 2 and (name.startswith(known) or name.endswith(known))
    ]
    return len(names) + min(inside, default=len(names))


def _suggest_category(free: list[str], records: Sequence[SampleRecord]) -> list[str]:
    levels = sorted((match["stem"].lower(), match["level"], c) for c in free if (match := LEVEL_PATTERN.match(c)))
    stems = [stem for stem, _, _ in levels]
    best = max(stems, key=stems.count, default="")
    columns = [column for stem, _, column in levels if stem == best]
    if len(columns) > 1:
        for column in columns:
            free.remove(column)
        return [f"category = {quote_list(columns)}"]
    path = _take(free, CATEGORY_NAMES, lambda c: _is_filled(c, records))
    if path is None:
        return []
    separator = _find_separator(path, records)
    if separator is None:
        return [f"category = {quote_toml(path)}"]
    return [f"category = {{ column = {quote_toml(path)}, separator = {quote_toml(separator)} }}"]


def _find_separator(column: str, records: Sequence[SampleRecord]) -> str | None:
    """Return the separator of the levels of a category path, which most of the text values contain."""
    values = [value for value in list_values(column, records) if isinstance(value, str)]
    for separator in PATH_SEPARATORS[:4]:
        if values and sum(separator in value for value in values) > len(values) / 2:
            return separator
    return None


def _suggest_attributes(free: list[str], records: Sequence[SampleRecord]) -> list[str]:
    column = _take(free, ATTRIBUTE_NAMES, lambda c: _is_map(c, records))
    if column is None:
        column = next((c for c in free if _is_map(c, records)), None)
    if column is not None:
        return [f"attributes = {{ column = {quote_toml(column)} }}"]
    shared = [c for c in free if not NO_ATTRIBUTE_PATTERN.search(c) and _is_attribute(c, records)]
    return [f"attributes = {quote_list(shared)}"] if shared else []


def _is_map(column: str, records: Sequence[SampleRecord]) -> bool:
    values = list_values(column, records)
    parsed = [parse_attributes(value, "auto", pair=",,", key=":", multi="!!!") for value in values]
    return bool(values) and sum(bool(found) for found, _ in parsed) > len(values) / 2


def _is_attribute(column: str, records: Sequence[SampleRecord]) -> bool:
    """Return whether a column holds short texts that several products share."""
    texts = [as_text(value) or "" for value in list_values(column, records) if not isinstance(value, dict | list)]
    if not texts or max(map(len, texts)) > 60:
        return False
    return len(set(texts)) < max(len(texts) * 0.8, 2)


def _suggest_images(
    free: list[str], columns: Sequence[str], records: Sequence[SampleRecord], folder: Path | None
) -> list[str]:
    many = [
        c for c in free if re.search(r"\d+$", c) and _rank(re.sub(r"\d+$", "", c), IMAGE_NAMES) < len(IMAGE_NAMES) * 2
    ]
    lines: list[str] = []
    if len(many) > 1:
        lines = [f"columns = {quote_list(many)}"]
        for one in many:
            free.remove(one)
    elif (column := _take(free, IMAGE_NAMES, lambda c: _holds_for_most(c, records, _is_link))) is not None:
        lines = _describe_image_column(column, records, folder)
    elif (template := _find_template(columns, records, folder)) is not None:
        lines = [f"template = {quote_toml(template)}"]
    if not lines:
        return []
    version = _take(free, VERSION_NAMES, lambda c: _is_filled(c, records))
    return [*lines, *([f"version_column = {quote_toml(version)}"] if version else [])]


def _describe_image_column(column: str, records: Sequence[SampleRecord], folder: Path | None) -> list[str]:
    """Return the lines for a column of image addresses; relative paths are searched on the disk."""
    separator = next((s for s in ("|", ";", ",", " ") if _has_joined_links(column, records, s)), None)
    lines = [f"column = {quote_toml(column)}"] + ([f"separator = {quote_toml(separator)}"] if separator else [])
    values = list_values(column, records)
    link = as_link(next(iter(as_list(values[0], separator)), None)) if values else None
    if folder is None or not link or "://" in link:
        return lines
    if link.startswith("/") and separator is None and (folder / link.lstrip("/")).is_file():
        return [f"template = {quote_toml(f'.{{{column}}}')}  # the paths begin with / but mean this folder"]
    found = find_image_base(link, folder)
    return lines if found == folder else [*lines, f"base = {quote_toml(str(found))}"]


def _has_joined_links(column: str, records: Sequence[SampleRecord], separator: str) -> bool:
    """Return whether some values are several image addresses joined by a separator."""
    for value in list_values(column, records):
        if isinstance(value, str) and not value.lstrip().startswith("["):
            parts = [part for part in value.split(separator) if part.strip()]
            if len(parts) > 1 and all(_is_link(part) for part in parts):
                return True
    return False


def _find_template(columns: Sequence[str], records: Sequence[SampleRecord], folder: Path | None) -> str | None:
    """Return the template of image files named after a column's values, in the catalogue's folder or one below it."""
    if folder is None:
        return None
    names: dict[tuple[str, str], set[str]] = {}
    for path in _list_image_files(folder):
        place = "" if path.parent == folder else f"{path.parent.name}/"
        names.setdefault((place, path.suffix), set()).add(path.stem)
    scores = {
        f"{place}{{{column}}}{suffix}": sum((as_text(v) or "") in stems for v in list_values(column, records))
        for (place, suffix), stems in names.items()
        for column in columns
    }
    best = max(scores, key=lambda template: scores[template], default=None)
    return best if best is not None and scores[best] > len(records) / 2 else None


def _list_image_files(folder: Path) -> list[Path]:
    found: list[Path] = []
    for place in [folder, *sorted(p for p in folder.iterdir() if p.is_dir())]:
        for path in place.iterdir():
            if path.suffix.lower() in IMAGE_SUFFIXES:
                found.append(path)
            if len(found) >= MAX_LISTED_FILES:
                return found
    return found


def _is_filled(column: str, records: Sequence[SampleRecord]) -> bool:
    return len(list_values(column, records)) > len(records) / 2


def _is_distinct(column: str, records: Sequence[SampleRecord]) -> bool:
    values = [as_text(value) for value in list_values(column, records)]
    return len(set(values)) > len(values) * 0.9


def _holds_for_most(column: str, records: Sequence[SampleRecord], test: Callable[[Any], bool]) -> bool:
    values = list_values(column, records)
    return bool(values) and sum(map(test, values)) > len(values) / 2


def _is_prose(value: Any) -> bool:
    return isinstance(value, str) and " " in value.strip()


def _is_day(value: Any) -> bool:
    return re.match(r"\d{4}-?\d\d-?\d\d", as_text(value) or "") is not None


def _is_link(value: Any) -> bool:
    """Return whether a value is, or lists, an image's address."""
    first = next((as_text(v) or "" for v in as_list(value, None)), "") if not isinstance(value, dict) else ""
    if isinstance(value, dict):
        return any(key in value for key in ("url", "uri", "path", "src"))
    return bool(re.search(r"\.(jpe?g|png|webp|gif|bmp|tiff?)\b", first, re.IGNORECASE)) or "://" in first
