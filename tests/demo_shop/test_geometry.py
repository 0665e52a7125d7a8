import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo_shop.geometry import (
    mirror_outline,
    outline_box,
    outline_ellipse,
    outline_tube,
    outline_vessel,
    rotate_outline,
    shift_outline,
    smooth_outline,
)

coordinate = st.floats(-5, 5, allow_nan=False).map(lambda v: round(v, 3))
points = st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=8, unique=True)


@given(points, st.booleans())
def test_smooth_curves_pass_through_their_points(control, closed) -> None:
    curve = smooth_outline(control, closed=closed, steps=5)
    for point in control:
        assert np.linalg.norm(curve - point, axis=1).min() < 1e-9


@given(points, st.floats(-180, 180))
def test_turning_and_moving_keep_distances(control, degrees) -> None:
    outline = np.array(control)
    moved = shift_outline(rotate_outline(outline, degrees, (1.0, 2.0)), 3.0, -1.0)
    before = np.linalg.norm(outline[0] - outline[1])
    assert np.linalg.norm(moved[0] - moved[1]) == pytest.approx(before, abs=1e-9)


def test_a_quarter_turn_is_clockwise_on_the_screen() -> None:
    assert rotate_outline(np.array([(1.0, 0.0)]), 90) == pytest.approx(np.array([(0.0, 1.0)]), abs=1e-12)


def test_box_stays_inside_its_corners_and_rounds_no_more_than_half() -> None:
    for radius in (0.0, 0.2, 9.0):
        outline = outline_box(0, 0, 2, 1, radius)
        assert outline.min() >= -1e-9
        assert outline.max(axis=0) == pytest.approx([2, 1], abs=0.02)


def test_mirrored_is_symmetric_around_the_axis() -> None:
    outline = mirror_outline([(1, 0), (2, 1), (0.5, 2)])
    assert sorted(map(tuple, outline)) == sorted(map(tuple, outline * (-1, 1)))


def test_a_tube_is_as_wide_as_asked() -> None:
    outline = outline_tube([(0, 0), (1, 0), (2, 0)], 0.4, 0.2)
    assert outline[0, 1] - outline[-1, 1] == pytest.approx(0.4)
    assert outline[2, 1] - outline[3, 1] == pytest.approx(0.2)


def test_a_turned_body_includes_its_opening() -> None:
    body, opening = outline_vessel([(1.0, 0.0), (0.5, 2.0)], 0.2)
    assert opening[:, 1].min() == pytest.approx(body[:, 1].min(), abs=1e-3)
    assert body[:, 0].max() == pytest.approx(1.0)
    assert outline_ellipse(0, 0, 1, 1, 0, 180)[:, 1].min() >= -1e-9
