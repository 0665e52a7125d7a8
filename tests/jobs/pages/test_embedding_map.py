"""Tests of the embedding map: its points, titles and colours, and that unchanged products stay at their places."""

import numpy as np
import pytest

from jobs.pages.embedding_map import OTHERS, STYLES, draw_embedding_map, find_axes, group_by_category
from jobs.pages.run_record import RunRecord
from tests.jobs.pages.page_parts import EVIL, FragmentReader, draw_unit_vectors, make_sample

MODEL = "a" * 64


def make_record(axes, model: str = MODEL) -> RunRecord:
    return RunRecord("r", "2026-01-01", "c", model, 1, axes=axes)


def test_every_product_is_a_point_with_its_title_and_no_title_is_markup():
    sample = make_sample(draw_unit_vectors(40), [EVIL, "Bags", "Hats", ""] * 10)
    page = draw_embedding_map(sample, find_axes(sample, None, MODEL))
    found = FragmentReader(page)
    assert found.count("use") == found.count("title") == 40
    assert found.count("script") == 0
    assert sorted(text for text in found.texts if text.endswith(")")) == sorted(
        f"{EVIL} p{row} (p{row})" for row in range(40)
    )
    assert {EVIL, "Bags", "Hats", OTHERS} <= set(found.texts)
    assert page == draw_embedding_map(sample, find_axes(sample, None, MODEL)), "the same data, another drawing"
    assert not any(value.startswith(("http", "//")) for value in found.list_values("href"))


def test_two_thousand_products_fit_into_a_page():
    sample = make_sample(
        draw_unit_vectors(2000), ["Bags", "Hats"] * 1000, title="A product with a title as long as most"
    )
    assert len(draw_embedding_map(sample, find_axes(sample, None, MODEL))) < 400_000


def test_too_few_products_have_no_map():
    sample = make_sample(draw_unit_vectors(5), ["Bags"] * 5)
    assert find_axes(sample, None, MODEL) is None
    assert "too few" in draw_embedding_map(sample, None)


@pytest.mark.parametrize(("count", "model", "stay"), [(20, MODEL, True), (50, MODEL, False), (20, "b" * 64, False)])
def test_axes_stay_while_model_and_size_do(count: int, model: str, stay: bool):
    first = find_axes(make_sample(draw_unit_vectors(20, seed=1), ["Bags"] * 20), None, MODEL)
    later = make_sample(draw_unit_vectors(count, seed=2), ["Bags"] * count)
    found = find_axes(later, make_record(first, model), MODEL)
    assert (found == first) is stay
    assert found.products == (20 if stay else count)


def test_the_largest_categories_have_styles_of_their_own_whatever_their_order():
    names = [f"category {row}" for row in range(9)]
    rows = [name for size, name in enumerate(names, start=1) for _ in range(size)]
    groups = group_by_category(make_sample(np.zeros((len(rows), 4), np.float32), rows))
    assert groups[0].name == OTHERS and len(groups[0].rows) == 1 + 2 + 3
    assert [group.name for group in groups[1:]] == names[:2:-1]
    assert len({(group.colour, group.marker) for group in groups}) == len(STYLES) + 1
