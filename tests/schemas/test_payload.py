"""Tests of the payload: values by type, what is not of its type, canonical JSON, and several rows of one product."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.merging import MergeRules, join_parent
from schemas.payload import (
    MAX_PAYLOAD_BYTES,
    PayloadColumn,
    compute_payload_hash,
    merge_payloads,
    read_payload,
    write_canonical_json,
)
from schemas.source import MappedRow
from schemas.source_mapping import MappingError, SourceMapping


def read(value: object, kind: str, **options: str) -> object:
    """Return the value of a column, or "error"."""
    payload, errors = read_payload({"c": value}, {"v": PayloadColumn(column="c", type=kind, **options)})
    return "error" if errors else payload.get("v")


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("9.99", "number", 9.99), ("9,99 €", "number", 9.99), ("USD 12.00", "number", 12),
        ("1.299,50", "number", 1299.5),
        ("1,299.50", "number", 1299.5), ("1.299.500", "number", 1299500), ("-3", "number", -3), (0.1, "number", 0.1),
        ("1,299", "number", "error"), ("call us", "number", "error"), ("9.99 - 12.99", "number", "error"),
        (True, "number", "error"), (float("inf"), "number", "error"), (float("nan"), "number", None),
        ("", "number", None), (None, "number", None), ("7", "integer", 7), ("7.5", "integer", "error"),
        ("Yes", "boolean", True), (0, "boolean", False), ("in stock", "boolean", True), ("maybe", "boolean", "error"),
        (' "a" 😀 ', "text", '"a" 😀'), (17, "text", "17"), (["b", "a", "b"], "texts", ["b", "a"]),
        ('{"b": 1, "a": [2]}', "json", {"a": [2], "b": 1}), ("{", "json", "error"), ("NaN", "json", "error"),
    ],
)  # fmt: skip
def test_values_by_type(value: object, kind: str, expected: object) -> None:
    found = read(value, kind)
    assert found == expected and type(found) is type(expected)


def test_texts_are_cut_and_too_much_is_left_out() -> None:
    assert read("S| M ||S", "texts", separator="|") == ["S", "M"]
    assert read("x" * MAX_PAYLOAD_BYTES, "text") == "error"


@given(st.dictionaries(st.text("abc", min_size=1), st.integers() | st.text()))
def test_equal_payloads_have_one_hash(values: dict[str, object]) -> None:
    turned = dict(reversed(values.items()))
    texts = [write_canonical_json(values), write_canonical_json(turned)]
    assert texts[0] == texts[1] and len(compute_payload_hash(texts[0])) == 64


def test_rows_of_one_product() -> None:
    rows = [{"price": 3, "tags": ["a"]}, {"price": 4, "size": "L", "tags": ["b", "a"]}]
    assert merge_payloads(rows, {"tags"}) == {"price": 3, "tags": ["a", "b"], "size": "L"}


def test_a_variant_takes_what_it_lacks_but_not_for_an_unreadable_value() -> None:
    parent = MappedRow(product_id="p", payload={"price": 3, "unit": "m"})
    rules = MergeRules(parent_column="Parent")
    variant = MappedRow(product_id="v", source_values={"Parent": "p"}, payload={}, payload_errors={"price": "call us"})
    assert join_parent(variant, parent, rules).payload == {"unit": "m"}


@pytest.mark.parametrize(
    "line", ['"a b" = "c"', 'a = { column = "c", type = "money" }', 'a = { column = "c", separator = "|" }', "a = 3"]
)
def test_a_mapping_that_is_wrong_is_refused(line: str) -> None:
    with pytest.raises(MappingError):
        SourceMapping.parse(f'id = "i"\ntitle = "t"\n[payload]\n{line}\n')


def test_a_mapping_names_its_columns() -> None:
    mapping = SourceMapping.parse(
        'id = "i"\ntitle = "t"\n[payload]\nunit = "u"\nprice = { column = "p", type = "number" }\n'
    )
    assert mapping.list_columns() == ["i", "t", "u", "p"]
