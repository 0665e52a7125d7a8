"""Tests of --where: it accepts conditions over known fields and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.operations.row_filter import FILTER_FIELDS, RowFilterError, parse_filter

ROWS = [
    ("a", "Red boot", ["Shoes", "Boots"], {"Brand": "Acme"}, 2),
    ("b", "Blue mug", ["Home"], {"brand": "B'est"}, 1),
    ("c", "Red rug, outlet", ["Home", "Floor"], {}, 3),
]


@pytest.fixture(scope="module")
def products(spark):
    schema = (
        "product_id string, title string, description string, category array<string>, attributes map<string,string>, "
        "images array<struct<uri: string>>"
    )
    rows = [(key, title, None, path, more, [(str(n),) for n in range(count)]) for key, title, path, more, count in ROWS]
    return spark.createDataFrame(rows, schema).cache()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('category_1 == "Home"', "bc"),
        ('category == "Shoes/Boots"', "a"),
        ('category_2 != "Boots"', "bc"),  # a category of one level has the empty text there, as in Milvus
        ('brand in ["Acme", "B\'est"]', "ab"),
        ('brand == ""', "c"),
        ('brand not in ("Acme",)', "bc"),
        ('"Red" in title and not ("outlet" in title)', "a"),
        ('product_id == "a" or images >= 3', "ac"),
        ("1 < images < 3", "a"),
        ("2 <= images", "ac"),
        ('description == ""', "abc"),
        ('  (product_id > "a")  ', "bc"),
    ],
)
def test_what_it_takes(products, text, expected):
    assert {row.product_id for row in products.where(parse_filter(text)).collect()} == set(expected)


def test_a_value_is_a_literal_whatever_it_says(products):
    assert products.where(parse_filter('title == "\' OR 1=1 --"')).count() == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('brand = "A"', "compare with =="),
        ("", "cannot be read"),
        ("price > 3", "'price' is no field"),
        ("images == 'two'", "whole number"),
        ("images == True", "whole number"),
        ("title == 3", "text in quotes"),
        ("title == brand", "text in quotes"),
        ("brand", "no condition"),
        ('"a" in images', "is a number"),
        ('title is "a"', "no comparison"),
        ("__import__('os').system('id')", "no condition"),
        ("title == f'{brand}'", "text in quotes"),
        ("(" * 500 + "1" + ")" * 500, "cannot be read"),
        ("not " * 490 + "title", "more than 100 levels"),
        ("x" * 3000, "more than 2,000"),
    ],
)
def test_what_it_refuses(spark, text, says):
    with pytest.raises(RowFilterError) as refused:
        parse_filter(text)
    assert says in str(refused.value)
    assert all(field in str(refused.value) for field in FILTER_FIELDS)


@given(text=st.text(max_size=40))
def test_no_text_breaks_it(spark, text):
    try:
        parse_filter(text)
    except RowFilterError as refused:
        assert "Fields:" in str(refused)
