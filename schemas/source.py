"""One record of a source, mapped to our names. Bad data becomes text or an error in a field, never an exception."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from schemas.product import ImageRef
from schemas.source_mapping import (
    PLACEHOLDER,
    AttributesMapping,
    CategoryMapping,
    ImagesMapping,
    MappingError,
    SourceMapping,
)
from schemas.source_values import as_link, as_list, as_text, parse_attributes
from schemas.uri import canonicalise_uri

__all__ = ["MappedRow", "MappingError", "SourceMapping", "is_of_snapshot", "make_malformed_row", "map_record"]


@dataclass(frozen=True)
class MappedRow:
    """One row of the `snapshots` table.

    Attributes:
        product_id, title, description: as delivered, as text; None where the source has null.
        category: path, root first; empty levels left out.
        attributes: name → value; None only together with `attributes_error`.
        attributes_error: what is wrong with the attributes, in words.
        row_error: what is wrong with the whole row (a line that is no JSON object, a CSV row of another length).
        images: canonical URIs with their versions, in the order of the source.
    """

    product_id: str | None = None
    title: str | None = None
    description: str | None = None
    category: list[str] = field(default_factory=list)
    attributes: dict[str, str] | None = field(default_factory=dict)
    attributes_error: str | None = None
    row_error: str | None = None
    images: list[ImageRef] = field(default_factory=list)


def map_record(record: Mapping[str, Any], mapping: SourceMapping, base_uri: str) -> MappedRow:
    """Map one record.

    Args:
        record: column → value, of any types; columns that are absent count as null.
        mapping: which column is what.
        base_uri: where relative image paths start (`SourceMapping.image_base`).
    """
    attributes, error = _attributes(record, mapping.attributes)
    return MappedRow(
        product_id=as_text(record.get(mapping.id)),
        title=as_text(record.get(mapping.title)),
        description=as_text(record.get(mapping.description)) if mapping.description else None,
        category=_category(record, mapping.category),
        attributes=attributes,
        attributes_error=error,
        images=_images(record, mapping.images, base_uri),
    )


def make_malformed_row(error: str) -> MappedRow:
    """Return the row that stands for a record which could not be read at all."""
    return MappedRow(row_error=as_text(error))


def is_of_snapshot(record: Mapping[str, Any], mapping: SourceMapping, day: date) -> bool:
    """Tell whether a record belongs to the snapshot of a day; without a snapshot column all do.

    A date, a moment, or a text that begins with the day (2026-11-22, 2026-11-22T03:00, 20261122) matches.
    """
    if mapping.snapshot is None:
        return True
    value = record.get(mapping.snapshot)
    if isinstance(value, datetime):
        return value.date() == day
    if isinstance(value, date):
        return value == day
    text = (as_text(value) or "").strip()
    return text.startswith(day.isoformat()) or text == day.strftime("%Y%m%d")


def _category(record: Mapping[str, Any], how: CategoryMapping | None) -> list[str]:
    if how is None:
        return []
    if how.columns is not None:
        levels: list[Any] = [record.get(column) for column in how.columns]
    else:
        value = record.get(how.column or "")
        levels = as_list(value, how.separator) if how.separator or not isinstance(value, str) else [value]
    texts = (as_text(level) for level in levels)
    return [text.strip() for text in texts if text is not None and text.strip()]


def _attributes(record: Mapping[str, Any], how: AttributesMapping | None) -> tuple[dict[str, str] | None, str | None]:
    if how is None:
        return {}, None
    if how.column is not None:
        return parse_attributes(
            record.get(how.column), how.format,
            pair=how.pair_separator, key=how.key_separator, multi=how.value_separator,
        )  # fmt: skip
    texts = {name: as_text(record.get(column)) for name, column in how.named_columns.items()}
    return {name: text for name, text in texts.items() if text is not None}, None


def _images(record: Mapping[str, Any], how: ImagesMapping | None, base_uri: str) -> list[ImageRef]:
    if how is None:
        return []
    links = _links(record, how)
    versions = _versions(record, how, len(links))
    return [
        ImageRef(canonicalise_uri(link, base_uri), version)
        for link, version in zip(links, versions, strict=True)
        if link is not None and link.strip()
    ]


def _versions(record: Mapping[str, Any], how: ImagesMapping, count: int) -> list[str | None]:
    """Return a version for each of `count` images: one value stands for all, a list goes by place."""
    if how.version_column is None:
        return [None] * count
    value = record.get(how.version_column)
    if how.version_separator is None and not isinstance(value, list | tuple):
        return [as_text(value)] * count
    versions = [as_text(version) for version in as_list(value, how.version_separator)][:count]
    return versions + [None] * (count - len(versions))


def _links(record: Mapping[str, Any], how: ImagesMapping) -> list[str | None]:
    if how.template is not None:
        return [_filled(how.template, record)]
    if how.columns is not None:
        return [as_link(record.get(column)) for column in how.columns]
    return [as_link(value) for value in as_list(record.get(how.column or ""), how.separator)]


def _filled(template: str, record: Mapping[str, Any]) -> str | None:
    """Return the template with its columns filled in, or None when one of them is empty."""
    values = {name: as_text(record.get(name)) for name in PLACEHOLDER.findall(template)}
    if not all(values.values()):
        return None
    return PLACEHOLDER.sub(lambda match: values[match[1]] or "", template)
