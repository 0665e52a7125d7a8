from itertools import chain

from demo_shop import vocabulary as words
from demo_shop.shapes import SHAPE_BUILDERS


def test_there_is_enough_to_choose_from() -> None:
    assert len(words.PRODUCT_TYPES) >= 18
    assert len({kind.category[0] for kind in words.PRODUCT_TYPES.values()}) >= 3
    assert len(words.COLOURS) >= 12
    assert len(words.PATTERNS) >= 8
    assert set(SHAPE_BUILDERS) == set(words.PRODUCT_TYPES)


def test_every_material_has_a_look() -> None:
    used = set(chain.from_iterable(kind.materials for kind in words.PRODUCT_TYPES.values()))
    assert used <= set(words.MATERIALS)


def test_no_word_means_two_things() -> None:
    for table in (words.PRODUCT_TYPES, words.COLOURS, words.PATTERNS):
        names = list(chain.from_iterable(entry.names + entry.query_names for entry in table.values()))
        assert len(names) == len(set(names))


def test_tastes_have_four_axes() -> None:
    tables = (words.COLOURS.values(), words.PATTERNS.values(), words.BRANDS)
    assert all(len(entry.taste) == len(words.TASTES) for entry in chain.from_iterable(tables))
