"""Tests of rows to products: merging by key, filling variants from their parent, and leaving out by a condition."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.merging import MergedRow, build_merge_rules, merge_snapshot
from schemas.source import make_malformed_row, map_record
from schemas.source_mapping import SourceMapping

BASE = "file:///shop"

SHOPIFY = SourceMapping.parse("""
title = "Title"
description = "Body"
category = { column = "Type", separator = "/" }
attributes = { columns = ["Vendor"], pairs = [["Option1 Name", "Option1 Value"], ["Option2 Name", "Option2 Value"]] }
images = { columns = ["Image Src", "Variant Image"], separator = "," }
product = { key = "Handle" }
where = "Published == 'true'"
""")

WOOCOMMERCE = SourceMapping.parse("""
id = "ID"
title = "Name"
description = "Text"
category = "Type"
attributes = { columns = ["Brand"], pairs = [["Name 1", "Value 1"]] }
images = { column = "Images", separator = "," }
parent = { column = "Parent", key = "SKU" }
where = "Published == 1"
""")

Record = dict[str, Any]


def merge(records: list[Record | None], mapping: SourceMapping = SHOPIFY) -> list[MergedRow]:
    """Map and merge records; None is one that cannot be read."""
    rows = [
        make_malformed_row("cut off", {}, mapping) if one is None else map_record(one, mapping, BASE) for one in records
    ]
    rules = build_merge_rules(mapping)
    assert rules is not None
    return merge_snapshot(list(enumerate(rows)), rules)


def names(product: MergedRow) -> list[str]:
    return [image.uri.rsplit("/", 1)[1] for image in product.row.images]


BOOT = [
    {"Handle": "boot", "Title": "Boot", "Body": "Warm", "Type": "Shoes/Boots", "Vendor": "Acme", "Published": "true",
     "Option1 Name": "Size", "Option1 Value": "40", "Option2 Name": "Colour", "Option2 Value": "red", "Image Src": "a"},
    {"Handle": "boot", "Option1 Value": "41", "Option2 Value": "red", "Image Src": "b, a", "Published": ""},
    {"Handle": "boot", "Option1 Value": "41", "Option2 Value": "blue", "Image Src": "b", "Variant Image": "c"},
]  # fmt: skip


def test_rows_of_one_key_are_one_product() -> None:
    [boot] = merge(BOOT)
    assert (boot.source_rows, boot.is_left_out) == ((0, 1, 2), False)
    assert (boot.row.product_id, boot.row.title, boot.row.description) == ("boot", "Boot", "Warm")
    assert boot.row.category == ["Shoes", "Boots"]
    assert boot.row.attributes == {"Vendor": "Acme", "Size": "40, 41", "Colour": "red, blue"}
    assert names(boot) == ["a", "b", "c"]


def test_the_name_of_a_pair_may_be_in_any_row() -> None:
    for rows in (BOOT, [BOOT[1], BOOT[0], BOOT[2]], BOOT[::-1]):
        [boot] = merge(rows)
        assert boot.row.attributes is not None
        assert {name: set(text.split(", ")) for name, text in boot.row.attributes.items()} == {
            "Vendor": {"Acme"}, "Size": {"40", "41"}, "Colour": {"red", "blue"},
        }  # fmt: skip
    renamed = [*BOOT[:2], {**BOOT[2], "Option2 Name": "Shade"}]
    assert (merge(renamed)[0].row.attributes or {})["Shade"] == "blue"


def test_the_first_value_that_is_not_empty_counts() -> None:
    rows = [
        {"Handle": "mug", "Title": " ", "Body": None, "Published": "true"},
        {"Handle": "mug", "Title": "Mug", "Type": "Home", "Vendor": " "},
        {"Handle": "mug", "Title": "Other", "Body": "Holds tea", "Type": "Garden", "Vendor": "Acme"},
    ]
    [mug] = merge(rows)
    assert (mug.row.title, mug.row.description, mug.row.category) == ("Mug", "Holds tea", ["Home"])
    assert mug.row.attributes == {"Vendor": "Acme"}
    [blank] = merge([{"Handle": "x", "Title": "", "Published": "true"}, {"Handle": "x", "Title": None}])
    assert blank.row.title == ""


def test_a_product_of_one_row_is_as_it_was_delivered() -> None:
    rows = [{"Handle": key, "Title": f" {key} ", "Published": "true", "Vendor": ""} for key in ("a", "b", "c")]
    assert [(one.source_rows, one.row.title) for one in merge(rows)] == [((0,), " a "), ((1,), " b "), ((2,), " c ")]
    assert merge(rows)[0].row.attributes == {"Vendor": ""}


def test_rows_need_not_be_adjacent() -> None:
    mug = {"Handle": "mug", "Title": "Mug", "Published": "true", "Image Src": "m"}
    products = merge([BOOT[0], mug, BOOT[1], {"Handle": "mug", "Image Src": "n"}, BOOT[2]])
    assert [(one.row.product_id, one.source_rows) for one in products] == [("boot", (0, 2, 4)), ("mug", (1, 3))]
    assert names(products[1]) == ["m", "n"]


def test_a_row_that_cannot_be_read_or_has_no_key_is_on_its_own() -> None:
    products = merge([BOOT[0], None, {"Handle": "", "Title": "A"}, {"Handle": " ", "Title": "B"}, None, BOOT[1]])
    assert [one.source_rows for one in products] == [(0, 5), (1,), (2,), (3,), (4,)]
    assert [one.row.row_error for one in products] == [None, "cut off", None, None, "cut off"]
    # The condition is not asked of what cannot be read; a row without a key is left out by it like any other.
    assert [one.is_left_out for one in products] == [False, False, True, True, False]


def test_a_fault_of_attributes_is_the_products() -> None:
    mapping = SourceMapping.parse('title = "t"\nproduct = "h"\nattributes = {column = "a", format = "json"}')
    rows = [{"h": "x", "t": "X", "a": '{"b": "1"}'}, {"h": "x", "a": "{"}, {"h": "x", "a": '{"c": "2"}'}]
    [product] = merge(rows, mapping)
    assert (product.row.attributes, product.row.attributes_error) == (None, "not valid JSON")
    [good] = merge([rows[0], rows[2]], mapping)
    assert good.row.attributes == {"b": "1", "c": "2"}


@pytest.mark.parametrize(
    ("published", "is_left_out"),
    [
        (["true", "", None], False),  # Shopify writes it in the first row only
        (["", "true", ""], False),
        (["false", "", ""], True),
        (["", "", ""], True),
        (["true", "false", "false"], False),  # the first value counts
    ],
)
def test_a_condition_is_asked_of_the_product(published: list[str | None], is_left_out: bool) -> None:
    [boot] = merge([{**row, "Published": value} for row, value in zip(BOOT, published, strict=True)])
    assert (boot.is_left_out, boot.source_rows) == (is_left_out, (0, 1, 2))


def test_a_condition_without_a_key_is_asked_of_each_row() -> None:
    mapping = SourceMapping.parse("id = 'i'\ntitle = 't'\nwhere = \"state == 'active' and price > 0\"")
    rows = [
        {"i": 1, "state": "active", "price": 2.5},
        {"i": 2, "state": "draft", "price": 2},
        {"i": 3, "state": "active", "price": 0},
        {"i": 4, "price": "3"},
        {"i": 1, "state": "active", "price": "7"},
    ]
    products = merge(rows, mapping)
    assert [one.is_left_out for one in products] == [False, True, True, True, False]
    assert [one.source_rows for one in products] == [(0,), (1,), (2,), (3,), (4,)]  # one id twice: not merged


SHIRT = {
    "ID": 10, "SKU": "shirt", "Name": "Shirt", "Text": "Soft", "Type": "Clothes", "Brand": "Acme", "Name 1": "Colour",
    "Value 1": "red, blue", "Images": "s.jpg", "Published": 1,
}  # fmt: skip


def test_a_variant_takes_from_its_parent_what_it_lacks() -> None:
    rows = [
        {"ID": 11, "Name": "Shirt red", "Parent": "shirt", "Name 1": "Colour", "Value 1": "red", "Published": 1},
        SHIRT,
        {"ID": 12, "Name": "Shirt blue", "Text": "Softer", "Parent": "id:10", "Images": "b.jpg", "Published": 1},
        {"ID": 13, "Name": None, "Parent": "shirt", "Published": 1},
        {"ID": 14, "Name": "Lost", "Parent": "absent", "Published": 1},
    ]
    red, shirt, blue, untitled, lost = merge(rows, WOOCOMMERCE)
    assert (red.row.product_id, red.row.title, red.row.description) == ("11", "Shirt red", "Soft")
    assert red.row.category == ["Clothes"]
    assert red.row.attributes == {"Colour": "red", "Brand": "Acme"}
    assert names(red) == ["s.jpg"]
    assert shirt.row.attributes == {"Brand": "Acme", "Colour": "red, blue"}
    assert (blue.row.description, names(blue), blue.row.attributes) == ("Softer", ["b.jpg"], shirt.row.attributes)
    assert (untitled.row.title, untitled.row.description) == (None, "Soft")
    assert (lost.row.description, lost.row.category, names(lost)) == (None, [], [])
    assert all(len(one.source_rows) == 1 for one in (red, shirt, blue, untitled, lost))
    assert [one.row.group_id for one in (red, shirt, blue, untitled)] == ["10", None, "10", "10"], "the parent's id"
    assert lost.row.group_id == "absent", "variants of a parent that was not delivered are one group"


def test_the_first_row_of_a_key_is_the_parent_and_one_that_is_left_out_still_gives() -> None:
    rows = [
        {**SHIRT, "Published": 0},
        {**SHIRT, "ID": 20, "Text": "Other"},
        {"ID": 11, "Parent": "shirt", "Published": 1},
    ]
    products = merge(rows, WOOCOMMERCE)
    assert [one.is_left_out for one in products] == [True, False, False]
    assert products[2].row.description == "Soft"
    # A row that cannot be read is no parent and has none.
    assert [one.row.row_error for one in merge([None, rows[2]], WOOCOMMERCE)] == ["cut off", None]


def test_a_parents_id_may_be_a_column_of_its_own() -> None:
    toml = 'id = "SKU"\ntitle = "Name"\ndescription = "Text"\nparent = { column = "Parent", key = "SKU", id = "ID" }'
    child = {"SKU": "s-1", "Name": "Shirt red", "Parent": "id:10"}
    for parent in (SHIRT, {**SHIRT, "SKU": None}, {**SHIRT, "ID": "10"}):
        product = merge([child, parent], SourceMapping.parse(toml))[0].row
        assert (product.description, product.group_id) == ("Soft", parent["SKU"] or "10")
    rows = [{"SKU": "s-1", "Parent": "id:10"}, {"SKU": "s-1", "Parent": " "}, {"SKU": "s-2"}]
    merged = merge(rows, SourceMapping.parse(toml.replace('id = "SKU"', 'product = "SKU"')))
    assert [one.row.group_id for one in merged] == ["10", None], "of the rows of a product the first that has one"


def test_ignored_values_are_no_attributes_in_any_row() -> None:
    toml = (
        'title = "Title"\nproduct = "Handle"\n'
        'attributes = { columns = ["Vendor"], pairs = [["Option1 Name", "Option1 Value"]], ignore = ["-", "none"] }'
    )
    first = {"Handle": "a", "Title": "T", "Vendor": "-", "Option1 Name": "Size", "Option1 Value": " none "}
    rows = [first, {"Handle": "a", "Option1 Value": "L"}, {"Handle": "a", "Option1 Value": "none"}]
    assert merge(rows, SourceMapping.parse(toml))[0].row.attributes == {"Size": "L"}


def test_a_mapping_without_the_keys_merges_nothing() -> None:
    assert build_merge_rules(SourceMapping.parse('id = "i"\ntitle = "t"')) is None
    assert map_record({"i": 1}, SourceMapping.parse('id = "i"\ntitle = "t"'), BASE).source_values is None


RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "Handle": st.sampled_from(["a", "b", "", None]),
            "Title": st.sampled_from(["T", "U", "", None]),
            "Published": st.sampled_from(["true", "false", "", None]),
            "Option1 Name": st.sampled_from(["Size", "Colour", "", None]),
            "Option1 Value": st.sampled_from(["1", "2", "", None]),
            "Image Src": st.sampled_from(["x", "y, z", "", None]),
        }
    ),
    max_size=8,
)


@given(records=RECORDS, seed=st.integers(0, 5))
def test_every_row_is_in_one_product(records: list[Record], seed: int) -> None:
    products = merge(records)
    assert sorted(number for one in products for number in one.source_rows) == list(range(len(records)))
    keys = [one.row.product_id for one in products if (one.row.product_id or "").strip()]
    assert len(keys) == len(set(keys))
    shuffled = random.Random(seed).sample(records, len(records))
    found = {one.row.product_id: set(names(one)) for one in merge(shuffled) if one.row.product_id}
    assert found == {one.row.product_id: set(names(one)) for one in products if one.row.product_id}
