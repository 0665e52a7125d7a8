import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moon_model.detection.grounding_answer import (
    DEFAULT_SUBJECT,
    AnswerError,
    build_grounding_prompt,
    parse_grounding_answer,
)

GOOD = '[{"bbox_2d": [10, 20, 110, 220], "label": "mug"}]'


@pytest.mark.parametrize(
    "answer", [GOOD, GOOD[1:-1], f"```json\n{GOOD}\n```", f" ```\n{GOOD}\n``` ", GOOD[:-1] + ', {"bbox_2d": "x"}]']
)
def test_the_first_box_is_read_in_shares_of_the_resized_photo(answer):
    assert parse_grounding_answer(answer, 200, 400) == pytest.approx((0.05, 0.05, 0.55, 0.55))


def test_a_box_a_little_outside_is_drawn_in():
    assert parse_grounding_answer('[{"bbox_2d": [-2, 0, 202, 400]}]', 200, 400) == (0.0, 0.0, 1.0, 1.0)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "The mug is at [10, 20, 110, 220].",
        "[]",
        "[10, 20, 110, 220]",
        '[{"bbox": [10, 20, 110, 220]}]',
        '[{"bbox_2d": [10, 20, 110]}]',
        '[{"bbox_2d": [10, 20, 110, "220"]}]',
        '[{"bbox_2d": [10, 20, true, 220]}]',
        '[{"bbox_2d": [10, 20, NaN, 220]}]',
        '[{"bbox_2d": [110, 20, 10, 220]}]',
        '[{"bbox_2d": [10, 20, 900, 220]}]',
        '[{"bbox_2d": [10, 20, 1e999, 220]}]',
        GOOD[:-5],
        "[" * 100_000,
        "null",
        '"x"',
    ],
)
def test_anything_else_is_an_error(answer):
    with pytest.raises(AnswerError):
        parse_grounding_answer(answer, 200, 400)


@given(st.text() | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_no_answer_raises_anything_but_answer_error(answer):
    try:
        x0, y0, x1, y1 = parse_grounding_answer(answer, 200, 400)
    except AnswerError:
        return
    assert 0 <= x0 < x1 <= 1
    assert 0 <= y0 < y1 <= 1


def test_the_prompt_names_the_product_in_one_line():
    assert '"Blue mug 0.3 l"' in build_grounding_prompt("  Blue\nmug   0.3 l ")
    assert DEFAULT_SUBJECT in build_grounding_prompt(" ")
    assert len(build_grounding_prompt("x" * 10_000)) < 600
