"""Tests of the accepted forms of a product's fields, and of their conversion."""

from pathlib import Path

import pytest

from moon_model.product import Product, clean_text


def test_only_the_id_is_needed() -> None:
    product = Product("7")
    assert (product.title, product.description, product.category, product.attributes, product.images) == (
        "", "", (), {}, (),
    )  # fmt: skip


@pytest.mark.parametrize("path", ["Home/Kitchen/Mugs", "Home > Kitchen > Mugs", ["Home", " Kitchen ", "Mugs", ""]])
def test_a_category_is_a_path(path: object) -> None:
    assert Product("7", category=path).category == ("Home", "Kitchen", "Mugs")


def test_attributes_lose_their_order_and_empty_values() -> None:
    product = Product("7", attributes={"size": 42, "colour": ["red", "white"], "fit": "", "material": None})
    assert list(product.attributes.items()) == [("colour", "red, white"), ("size", "42")]


@pytest.mark.parametrize("image", ["a.jpg", Path("a.jpg"), b"\xff\xd8"])
def test_a_single_image_need_not_be_a_list(image: object) -> None:
    assert Product("7", images=image).images == (image,)


def test_whitespace_and_none_are_cleaned() -> None:
    assert Product(7, title=" a\n\tb ", description=None).title == "a b"
    assert Product(7).id == "7"
    assert clean_text(None) == ""


def test_of_takes_products_and_mappings() -> None:
    product = Product("7", title="mug")
    assert Product.from_value(product) is product
    assert Product.from_value({"id": "7", "title": "mug"}) == product


def test_of_names_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"no field titel; its fields are id, title"):
        Product.from_value({"id": "7", "titel": "mug"})
    with pytest.raises(ValueError, match="needs an id"):
        Product.from_value({"title": "mug"})
    with pytest.raises(TypeError, match="not str"):
        Product.from_value("mug")
