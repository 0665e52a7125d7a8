"""Masking removes a field and its words, and nothing else."""

import pytest

from moon_model.evaluation.leakage_masking import keep_images, keep_texts, make_label_product, mask_field
from moon_model.product import Product

PRODUCT = Product(
    "1", "Red mug, reddish", "A RED one beside redcurrants.", ("Kitchen", "Mugs", "Tea"),
    {"colour": "red", "size": "L"}, [b"photo"],
)  # fmt: skip


@pytest.mark.parametrize(
    ("title", "words", "left"),
    [
        ("Red mugs and a mug", ["mug"], "Red and a"),
        ("Two dresses, one dress's belt", ["dress"], "Two , one belt"),
        ("Mug, dress, berry, glass and vase", ["Mugs", "Dresses", "berries", "Glass", "vases"], ", , , and"),
        ("A table lamp, a desk lamp", ["Table lamps"], "A , a desk lamp"),
        ("a gas bus", ["gas", "is", "Bus"], "a"),
        ("red striped cup", ["red", "red striped"], "cup"),
        ("Bored, RED, (red)", ["red"], "Bored, , ( )"),
        ("C++ for Caspar, C#", ["C++", "C#"], "for Caspar,"),
        ("红色连衣裙 in M", ["红色"], "连衣裙 in M"),
        ("iPhone手机壳", ["iphone"], "手机壳"),
        ("Red mug", ["", "  "], "Red mug"),
        ("Red mug", [], "Red mug"),
    ],
)
def test_whole_words_are_masked(title, words, left):
    assert mask_field(Product("1", title), words).title == left


def test_the_field_goes_and_the_words_for_it():
    hidden = mask_field(PRODUCT, {"red"}, attribute="colour")
    assert (hidden.title, hidden.description) == ("mug, reddish", "A one beside redcurrants.")
    assert hidden.attributes == {"size": "L"}
    assert hidden.category == PRODUCT.category
    assert hidden.images == PRODUCT.images


@pytest.mark.parametrize(("level", "left"), [(0, ()), (1, ("Kitchen",)), (None, ("Kitchen", "Mugs", "Tea"))])
def test_deeper_levels_give_the_category_away(level, left):
    hidden = mask_field(PRODUCT, ["mug"], level=level)
    assert hidden.category == left
    assert "mug" not in hidden.title
    assert hidden.attributes == PRODUCT.attributes


def test_half_a_product():
    assert keep_images(PRODUCT) == Product("1", images=[b"photo"])
    bare = keep_texts(PRODUCT)
    assert (bare.images, bare.title, bare.attributes) == ((), PRODUCT.title, PRODUCT.attributes)
    assert make_label_product("very red") == Product("label very red", title="very red")
