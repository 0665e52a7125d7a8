"""Builds products from rows: merges rows of one key, fills variants from their parent, and applies ``where``.

Pure functions over mapped rows. The stage validate runs them in Spark tasks, `moon check-source` in its own process.
Source: docs/decisions/0042-rows-to-products.md.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Any

from schemas.conditions import Condition, evaluate_condition, parse_condition
from schemas.payload import merge_payloads
from schemas.product import ImageRef
from schemas.source import MappedRow
from schemas.source_mapping import SourceMapping
from schemas.source_values import join_values

ID_REFERENCE = "id:"
"""Start of a reference to a parent by its id, as WooCommerce writes it if the parent has no SKU."""

NumberedRow = tuple[int, MappedRow]


@dataclass(frozen=True)
class MergeRules:
    """A mapping's rules for building products from rows.

    Attributes:
        has_key: whether rows of one product id are one product.
        pairs: columns of an attribute's name and value; only with `has_key`.
        parent_column: column that refers to the parent; empty without parents.
        parent_key, parent_id: columns whose values identify a parent.
        where: condition that a product has to meet; empty for none.
        ignored: values that mean "no attribute".
        joined_payload: names of the payload that hold several texts; a product has those of all its rows.
    """

    has_key: bool = False
    pairs: tuple[tuple[str, str], ...] = ()
    parent_column: str = ""
    parent_key: str = ""
    parent_id: str = ""
    where: str = ""
    ignored: tuple[str, ...] = ()
    joined_payload: tuple[str, ...] = ()

    @cached_property
    def condition(self) -> Condition | None:
        """`where` as data; None without one."""
        return parse_condition(self.where) if self.where else None

    def as_text(self) -> str:
        """Return a text that differs for different rules."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class MergedRow:
    """A product, or a row that belongs to none.

    Attributes:
        row: the merged row, to which the row rules are applied.
        source_rows: numbers of the rows that were merged, ascending; the first is the number of the product.
        is_left_out: whether the product does not meet `MergeRules.where`.
    """

    row: MappedRow
    source_rows: tuple[int, ...]
    is_left_out: bool = False


def build_merge_rules(mapping: SourceMapping) -> MergeRules | None:
    """Return a mapping's rules for building products; None if each row is a product without any merging."""
    if mapping.kept_columns is None:
        return None
    parent, attributes = mapping.parent, mapping.attributes
    pairs = (attributes.pairs or []) if mapping.product and attributes else []
    return MergeRules(
        has_key=mapping.product is not None,
        pairs=tuple((name, value) for name, value in pairs),
        parent_column=parent.column if parent else "",
        parent_key=parent.key if parent else "",
        parent_id=(parent.id or mapping.id) if parent else "",
        where=mapping.where or "",
        ignored=tuple((attributes.ignore if attributes else None) or ()),
        joined_payload=tuple(name for name, one in (mapping.payload or {}).items() if one.type == "texts"),
    )


def merge_snapshot(rows: Iterable[NumberedRow], rules: MergeRules) -> list[MergedRow]:
    """Return the products of a whole snapshot, in the order of their first rows.

    Args:
        rows: (source_row, row) in any order.
        rules: from `build_merge_rules`.
    """
    ordered = sorted(rows, key=lambda numbered: numbered[0])
    parents: dict[str, MappedRow] = {}
    for _, row in ordered:
        for reference in list_references(row, rules):
            parents.setdefault(reference, row)
    filled = [(number, join_parent(row, parents.get(get_parent(row, rules) or ""), rules)) for number, row in ordered]
    filled.sort(key=lambda numbered: (numbered[1].product_id or "", numbered[0]))
    merged = [
        product
        for _, group in groupby(filled, key=lambda numbered: numbered[1].product_id)
        for product in merge_group(list(group), rules)
    ]
    return sorted(merged, key=lambda product: product.source_rows)


def list_references(row: MappedRow, rules: MergeRules) -> list[str]:
    """Return the texts by which variants may refer to a row as their parent."""
    values = row.source_values
    if not rules.parent_column or values is None:
        return []
    key, number = values.get(rules.parent_key), values.get(rules.parent_id)
    return [*([key] if key else []), *([ID_REFERENCE + number] if number else [])]


def get_parent(row: MappedRow, rules: MergeRules) -> str | None:
    """Return a row's reference to its parent; None without a parent."""
    return (row.source_values or {}).get(rules.parent_column)


def join_parent(row: MappedRow, parent: MappedRow | None, rules: MergeRules) -> MappedRow:
    """Return a variant's row with its group, and with what it lacks from its parent; the title stays its own.

    The group is the product id of the parent. Where no row is the parent, it is the reference as the variant has it,
    so that the variants of a parent that was not delivered are one group all the same.
    """
    reference = get_parent(row, rules)
    if reference is None or row.row_error is not None:
        return row
    row = replace(row, group_id=(parent and parent.product_id) or reference.removeprefix(ID_REFERENCE).strip() or None)
    if parent is None:
        return row
    attributes = row.attributes
    if attributes is not None:
        attributes = {**attributes, **_select_lacking(parent.attributes or {}, attributes)}
    return replace(
        row,
        description=_first_text([row.description, parent.description]),
        category=row.category or parent.category,
        attributes=attributes,
        images=row.images or parent.images,
        payload=None if row.payload is None else {**_select_payload(row, parent), **row.payload},
    )


def _select_payload(row: MappedRow, parent: MappedRow) -> dict[str, Any]:
    """Return the payload of a parent without what the variant has as an unreadable value, which is not its parent's."""
    return {name: value for name, value in (parent.payload or {}).items() if name not in (row.payload_errors or {})}


def merge_group(rows: Sequence[NumberedRow], rules: MergeRules) -> list[MergedRow]:
    """Return the products of the rows of one product id: one with `MergeRules.has_key`, else one for each row.

    Args:
        rows: (source_row, row) of one product id, ascending. A row that cannot be read or has no id is never merged
            with others.
        rules: from `build_merge_rules`.
    """
    alone = [numbered for numbered in rows if not rules.has_key or not _has_key(numbered[1])]
    together = [numbered for numbered in rows if rules.has_key and _has_key(numbered[1])]
    groups = [[numbered] for numbered in alone] + ([together] if together else [])
    return [
        MergedRow(_merge(group, rules), tuple(number for number, _ in group), _is_left_out(group, rules))
        for group in groups
    ]


def _has_key(row: MappedRow) -> bool:
    return row.row_error is None and bool(row.product_id and row.product_id.strip())


def _is_left_out(rows: Sequence[NumberedRow], rules: MergeRules) -> bool:
    """Return whether a product fails ``where``; columns have their first values, as later rows leave them empty."""
    if rules.condition is None or rows[0][1].row_error is not None:
        return False
    return not evaluate_condition(rules.condition, _read_first_values(row for _, row in rows))


def _merge(rows: Sequence[NumberedRow], rules: MergeRules) -> MappedRow:
    first = rows[0][1]
    if len(rows) == 1:
        return first
    members = [row for _, row in rows]
    error = next((row.attributes_error for row in members if row.attributes_error is not None), None)
    images: dict[str, ImageRef] = {}
    for image in (image for row in members for image in row.images):
        images.setdefault(image.uri, image)
    return replace(
        first,
        title=_first_text([row.title for row in members]),
        description=_first_text([row.description for row in members]),
        category=next((row.category for row in members if row.category), first.category),
        attributes=None if error is not None else _merge_attributes(members, rules),
        attributes_error=error,
        images=list(images.values()),
        group_id=next((row.group_id for row in members if row.group_id), None),
        payload=None
        if first.payload is None
        else merge_payloads((row.payload or {} for row in members), rules.joined_payload),
    )


def _merge_attributes(rows: Sequence[MappedRow], rules: MergeRules) -> dict[str, str]:
    """Return the attributes of all rows; a name keeps all its values, each once, in the order of the rows."""
    pairs: list[tuple[str, str]] = []
    # Shopify writes the name of an option in the product's first row only, wherever that is in the file.
    names = _read_first_values(rows)
    for row in rows:
        pairs += [(name, text) for name, text in (row.attributes or {}).items() if text.strip()]
        values = row.source_values or {}
        for name_column, value_column in rules.pairs:
            if name_column not in values and value_column in values and name_column in names:
                pairs.append((names[name_column].strip(), values[value_column].strip()))
    return join_values(pair for pair in pairs if pair[1] not in rules.ignored)


def _read_first_values(rows: Iterable[MappedRow]) -> dict[str, str]:
    """Return the first value of each kept column that is not empty."""
    values: dict[str, str] = {}
    for row in rows:
        values = {**(row.source_values or {}), **values}
    return values


def _first_text(texts: Sequence[str | None]) -> str | None:
    """Return the first text that is not empty; if all are empty, the first as delivered."""
    return next((text for text in texts if text is not None and text.strip()), texts[0])


def _select_lacking(offered: Mapping[str, str], present: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in offered.items() if not (present.get(name) or "").strip()}
