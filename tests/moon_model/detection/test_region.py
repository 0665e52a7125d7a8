import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moon_model.detection.region import (
    WHOLE_IMAGE,
    Region,
    clip_box,
    compute_area,
    compute_iou,
    is_degenerate,
)

shares = st.floats(0, 1)
anything = st.floats(allow_nan=True, allow_infinity=True)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[float, float, float, float]:
    x0, x1 = sorted((draw(shares), draw(shares)))
    y0, y1 = sorted((draw(shares), draw(shares)))
    return x0, y0, x1, y1


@pytest.mark.parametrize(
    "box", [(0.5, 0, 0.5, 1), (0.6, 0, 0.5, 1), (-0.1, 0, 1, 1), (0, 0, 1, 1.1), (math.nan, 0, 1, 1)]
)
def test_a_region_refuses_a_box_that_is_none(box):
    with pytest.raises(ValueError, match="0 ≤ x0 < x1"):
        Region(box, 0.5)


@pytest.mark.parametrize("score", [-0.1, 1.1, math.nan])
def test_a_region_refuses_a_score_outside_its_range(score):
    with pytest.raises(ValueError, match="score"):
        Region(WHOLE_IMAGE, score)


def test_a_region_refuses_an_unknown_source():
    with pytest.raises(ValueError, match="guessed"):
        Region(WHOLE_IMAGE, 0.5, "guessed")


def test_the_fallback_is_whole_and_a_detection_is_not_even_when_it_covers_all():
    assert Region.whole_image(0.1) == Region(WHOLE_IMAGE, 0.1, "whole_image")
    assert Region.whole_image().is_whole
    assert not Region(WHOLE_IMAGE, 0.9).is_whole


@given(st.tuples(anything, anything, anything, anything))
def test_clip_always_gives_finite_shares(box):
    assert all(0.0 <= value <= 1.0 for value in clip_box(box))


@given(boxes(), boxes())
def test_iou_is_symmetric_and_bounded(a, b):
    overlap = compute_iou(a, b)
    assert overlap == compute_iou(b, a)
    assert 0.0 <= overlap <= 1.0 + 1e-9


def test_iou_of_known_boxes():
    assert compute_iou((0, 0, 0.5, 1), (0.25, 0, 0.75, 1)) == pytest.approx(1 / 3)
    assert compute_iou((0, 0, 0.5, 1), (0.5, 0, 1, 1)) == 0.0
    assert compute_iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0.0


def test_area_of_an_inside_out_box_is_nothing():
    assert compute_area((0.6, 0.1, 0.2, 0.9)) == 0.0


@pytest.mark.parametrize(
    ("box", "verdict"),
    [
        ((0.1, 0.1, 0.6, 0.6), False),
        ((0.1, 0.1, 0.11, 0.6), True),
        ((0.6, 0.1, 0.2, 0.6), True),
        ((0.0, 0.0, 1.0, 0.95), True),
        ((math.nan, 0.1, 0.5, 0.6), True),
    ],
)
def test_degenerate_boxes(box, verdict):
    assert is_degenerate(box, min_side=0.02, max_area=0.92) is verdict
