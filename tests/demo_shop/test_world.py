from collections import Counter
from itertools import chain

import numpy as np
import pytest

from demo_shop.vocabulary import COLOURS, PATTERNS, PRODUCT_TYPES
from demo_shop.world import VARIANT_EVERY, DemoWorld

WORLD = DemoWorld(3)
PRODUCTS = [WORLD.get_product(i) for i in range(900)]


def test_products_depend_on_seed_and_index_alone() -> None:
    assert DemoWorld(3).get_product(77) == PRODUCTS[77]
    assert DemoWorld(4).get_product(77).title != PRODUCTS[77].title
    assert len({p.id for p in PRODUCTS}) == len(PRODUCTS)


def test_everything_occurs() -> None:
    assert {p.type for p in PRODUCTS} == set(PRODUCT_TYPES)
    assert {p.colour for p in PRODUCTS} == set(COLOURS)
    assert {p.pattern for p in PRODUCTS} == set(PATTERNS)
    assert {p.images for p in PRODUCTS} == {1, 2, 3}


def test_a_third_is_silent_about_colour_or_pattern_in_title_and_attributes() -> None:
    silent = [p for p in PRODUCTS if p.omitted_fact]
    assert 0.28 <= len(silent) / len(PRODUCTS) <= 0.39
    assert all(p.omitted_fact not in p.attributes for p in silent)
    assert all({"colour", "pattern"} <= set(p.attributes) for p in PRODUCTS if not p.omitted_fact)


def test_some_titles_mislead_and_say_so_here() -> None:
    misleading = [p for p in PRODUCTS if p.misleading]
    assert 0.04 <= len(misleading) / len(PRODUCTS) <= 0.13
    assert all(p.misleading in p.title for p in misleading)


def test_pattern_colour_stands_out() -> None:
    for p in PRODUCTS:
        assert (p.second_colour == p.colour) == (p.pattern == "plain")


def test_variants_share_looks_and_differ_in_size() -> None:
    for p in PRODUCTS[VARIANT_EVERY - 1 :: VARIANT_EVERY]:
        base = PRODUCTS[p.index - 1]
        same = ("type", "colour", "second_colour", "pattern", "material", "brand", "taste", "looks")
        assert all(getattr(p, name) == getattr(base, name) for name in same)
        assert p.family == base.family == base.id != p.id
        assert p.size != base.size


def test_taste_shows_in_what_a_product_looks_like() -> None:
    """Products of tastes that like a colour have it more often; the catalogue never tells why."""
    natural = np.array([p.taste[1] for p in PRODUCTS])
    green = np.array([p.colour in ("green", "brown") for p in PRODUCTS])
    assert natural[green].mean() > natural[~green].mean() + 0.3
    listed = set(chain.from_iterable(p.attributes for p in PRODUCTS))
    assert listed == {"colour", "pattern", "material", "brand", "size"}


def test_revisions_reword_but_keep_looks() -> None:
    base, retitled = WORLD.get_product(5), WORLD.get_product(5, title_revision=1)
    resized = WORLD.get_product(5, attribute_revision=1)
    assert retitled.title != base.title
    assert (retitled.attributes, retitled.looks) == (base.attributes, base.looks)
    assert resized.size != base.size
    assert resized.title == base.title or base.size in base.title


def test_types_can_be_held_out() -> None:
    kept = [kind for kind in PRODUCT_TYPES if kind not in ("teapot", "umbrella")]
    counts = Counter(DemoWorld(3, types=kept).get_product(i).type for i in range(300))
    assert set(counts) == set(kept)


def test_find_goes_back_from_an_id() -> None:
    assert WORLD.find_product(PRODUCTS[42].id) == PRODUCTS[42]
    for unknown in ("demo-4-000001", "demo-3-x", "demo-3-", "42", ""):
        with pytest.raises(KeyError):
            WORLD.find_product(unknown)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown product types"):
        DemoWorld(1, types=("sofa",))
    with pytest.raises(ValueError, match="unknown product types"):
        DemoWorld(1, types=())
    with pytest.raises(ValueError, match="0 or more"):
        DemoWorld(-1)
    with pytest.raises(ValueError, match="count from 0"):
        WORLD.get_product(-1)
