"""Maps a source record to a row of `snapshots`; bad data becomes text or an error column, never an exception."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from schemas.payload import read_payload, write_canonical_json
from schemas.product import ImageRef
from schemas.source_mapping import (
    PLACEHOLDER,
    AttributesMapping,
    CategoryMapping,
    ImagesMapping,
    MappingError,
    SourceMapping,
)
from schemas.source_values import as_link, as_list, as_name, as_text, choose_path, join_values, parse_attributes
from schemas.uri import canonicalise_uri

__all__ = ["MappedRow", "MappingError", "SourceMapping", "is_of_snapshot", "make_malformed_row", "map_record"]


@dataclass(frozen=True)
class MappedRow:
    """One row of the `snapshots` table.

    Attributes:
        product_id, title, description: delivered values as text; None where the source has null.
        category: path, root first, without empty levels.
        attributes: name → value; None only together with `attributes_error`.
        attributes_error: description of what is wrong with the attributes.
        row_error: description of what is wrong with the whole row (a line that is not a JSON object, a CSV row with
            another number of fields).
        images: canonical URIs with their versions, in the order of the source.
        source_values: text by column, of `SourceMapping.kept_columns` that are not empty; None: the row is not merged.
        group_id: product id of the parent, set by `schemas.merging`; no column of `snapshots`.
    """

    product_id: str | None = None
    title: str | None = None
    description: str | None = None
    category: list[str] = field(default_factory=list)
    attributes: dict[str, str] | None = field(default_factory=dict)
    attributes_error: str | None = None
    row_error: str | None = None
    images: list[ImageRef] = field(default_factory=list)
    source_values: dict[str, str] | None = None
    group_id: str | None = None
    payload: dict[str, Any] | None = None
    payload_errors: dict[str, str] | None = None

    def to_record(self) -> dict[str, Any]:
        """Return the row's columns of `snapshots` in the form that Arrow accepts: a map as a list of pairs."""
        values, errors = self.source_values, self.payload_errors
        return {
            **{name: value for name, value in vars(self).items() if name != "group_id"},
            "attributes": None if self.attributes is None else list(self.attributes.items()),
            "images": [vars(image) for image in self.images],
            "source_values": None if values is None else list(values.items()),
            "payload": None if self.payload is None else write_canonical_json(self.payload),
            "payload_errors": list(errors.items()) if errors else None,
        }


def map_record(record: Mapping[str, Any], mapping: SourceMapping, base_uri: str) -> MappedRow:
    """Return the row of one record.

    Args:
        record: column → value of any type; an absent column is null.
        mapping: meaning of the columns.
        base_uri: folder that relative image paths start from (`SourceMapping.resolve_image_base`).
    """
    attributes, error = _map_attributes(record, mapping.attributes)
    payload, payload_errors = read_payload(record, mapping.payload) if mapping.payload else (None, None)
    return MappedRow(
        product_id=as_text(record.get(mapping.id)),
        title=as_text(record.get(mapping.title)),
        description=as_text(record.get(mapping.description)) if mapping.description else None,
        category=_map_category(record, mapping.category),
        attributes=attributes,
        attributes_error=error,
        images=_map_images(record, mapping.images, base_uri),
        source_values=_read_kept_columns(record, mapping.kept_columns),
        payload=payload,
        payload_errors=payload_errors,
    )


def make_malformed_row(error: str, salvaged: Mapping[str, Any], mapping: SourceMapping) -> MappedRow:
    """Return the row of a record that cannot be read; its product id where that field is intact."""
    return MappedRow(product_id=as_text(salvaged.get(mapping.id)) or None, row_error=as_text(error))


def is_of_snapshot(record: Mapping[str, Any], mapping: SourceMapping, day: date, timezone: str = "UTC") -> bool:
    """Return whether a record belongs to the snapshot of a day; without a snapshot column all records do.

    Args:
        record: column → value; the snapshot column may hold a date, a timestamp, or a text that starts with the day
            (2026-11-22, 2026-11-22T03:00, 20261122).
        mapping: names the snapshot column.
        day: date of the snapshot.
        timezone: the shop's time zone, to which a timestamp with a zone is converted.
    """
    return mapping.snapshot is None or read_snapshot_day(record, mapping.snapshot, timezone) == day.isoformat()


def read_snapshot_day(record: Mapping[str, Any], column: str, timezone: str) -> str:
    """Return the day in a record's snapshot column as an ISO date; a text that is no date is cut, not refused.

    Args:
        record: as in `is_of_snapshot`.
        column: the snapshot column.
        timezone: the shop's time zone, to which a timestamp with a zone is converted.
    """
    value = record.get(column)
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.astimezone(ZoneInfo(timezone))
    text = (as_text(value) or "").strip()
    if len(text) == 8 and text.isdigit():  # 20261122
        return f"{text[:4]}-{text[4:6]}-{text[6:]}"
    return text[:10]


def _read_kept_columns(record: Mapping[str, Any], columns: tuple[str, ...] | None) -> dict[str, str] | None:
    if columns is None:
        return None
    texts = {column: as_text(record.get(column)) for column in columns}
    return {column: text for column, text in texts.items() if text is not None and text.strip()}


def _map_category(record: Mapping[str, Any], spec: CategoryMapping | None) -> list[str]:
    if spec is None:
        return []
    if spec.columns is not None:
        levels: list[Any] = [record.get(column) for column in spec.columns]
    else:
        value = record.get(spec.column or "")
        if spec.paths is not None:
            return choose_path(value, spec.paths, spec.separator)
        levels = as_list(value, spec.separator) if spec.separator or not isinstance(value, str) else [value]
    texts = (as_name(level) for level in levels)
    return [text.strip() for text in texts if text is not None and text.strip()]


def _map_attributes(
    record: Mapping[str, Any], spec: AttributesMapping | None
) -> tuple[dict[str, str] | None, str | None]:
    """Return (attributes, None) or (None, error)."""
    if spec is None:
        return {}, None
    if spec.column is not None:
        return parse_attributes(
            record.get(spec.column), spec.format,
            pair=spec.pair_separator, key=spec.key_separator, multi=spec.value_separator,
        )  # fmt: skip
    texts = {name: as_text(record.get(column)) for name, column in spec.named_columns.items()}
    named = [(name, text) for name, text in texts.items() if text is not None]
    ignored = spec.ignore or ()
    return join_values(pair for pair in [*named, *_read_pairs(record, spec)] if pair[1].strip() not in ignored), None


def _read_pairs(record: Mapping[str, Any], spec: AttributesMapping) -> Iterator[tuple[str, str]]:
    """Yield the attributes of the pairs of a name and a value column; a pair without name or value is skipped."""
    for name_column, value_column in spec.pairs or ():
        name, text = (as_text(record.get(column)) for column in (name_column, value_column))
        if name and name.strip() and text and text.strip():
            yield name.strip(), text.strip()


def _map_images(record: Mapping[str, Any], spec: ImagesMapping | None, base_uri: str) -> list[ImageRef]:
    if spec is None:
        return []
    links = _read_links(record, spec)
    versions = _read_versions(record, spec, len(links))
    return [
        ImageRef(canonicalise_uri(link, base_uri), version)
        for link, version in zip(links, versions, strict=True)
        if link is not None and link.strip()
    ]


def _read_versions(record: Mapping[str, Any], spec: ImagesMapping, count: int) -> list[str | None]:
    """Return a version for each of `count` images: a single value is the version of all, a list has one per image."""
    if spec.version_column is None:
        return [None] * count
    value = record.get(spec.version_column)
    if spec.version_separator is None and not isinstance(value, list | tuple):
        return [as_text(value)] * count
    versions = [as_text(version) for version in as_list(value, spec.version_separator)][:count]
    return versions + [None] * (count - len(versions))


def _read_links(record: Mapping[str, Any], spec: ImagesMapping) -> list[str | None]:
    """Return the addresses of a record's images; None for an empty one, so that versions stay aligned."""
    if spec.template is not None:
        return [_fill_template(spec.template, record)]
    if spec.columns is not None:
        values = [record.get(column) for column in spec.columns]
        if spec.separator is None:  # only a list has several images, such as a repeated XML element
            lists = (value if isinstance(value, list | tuple) else [value] for value in values)
        else:
            lists = (as_list(value, spec.separator) for value in values)
        return [as_link(value) for several in lists for value in several]
    return [as_link(value) for value in as_list(record.get(spec.column or ""), spec.separator)]


def _fill_template(template: str, record: Mapping[str, Any]) -> str | None:
    """Return the template with the columns' values, or None when one of them is empty."""
    values = {name: as_text(record.get(name)) for name in PLACEHOLDER.findall(template)}
    if not all(values.values()):
        return None
    return PLACEHOLDER.sub(lambda match: values[match[1]] or "", template)
