import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from moon_model.detection.candidates import compute_ious, select_candidates
from moon_model.detection.region import compute_iou


def test_agreeing_cells_vote_and_others_become_candidates_of_their_own():
    boxes = np.array([[0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.54], [0.6, 0.6, 0.9, 0.9]], np.float32)
    first, second = select_candidates(np.array([0.8, 0.8, 0.4], np.float32), boxes, k=3, merge_iou=0.6)
    assert first[0] == pytest.approx(0.8)
    assert first[1] == pytest.approx((0.1, 0.1, 0.5, 0.52), abs=1e-6)  # equal scores: the plain mean
    assert second[1] == pytest.approx((0.6, 0.6, 0.9, 0.9), abs=1e-6)


def test_boxes_are_cut_off_at_the_photo():
    (candidate,) = select_candidates(np.array([0.5], np.float32), np.array([[-0.2, 0.1, 1.3, 0.9]], np.float32), 1, 0.5)
    assert candidate[1] == pytest.approx((0.0, 0.1, 1.0, 0.9), abs=1e-6)


def test_scores_of_zero_still_give_an_answer():
    (candidate,) = select_candidates(np.zeros(3, np.float32), np.zeros((3, 4), np.float32), 1, 0.5)
    assert candidate == (0.0, (0.0, 0.0, 0.0, 0.0))


@given(
    hnp.arrays(np.float32, 30, elements=st.floats(0, 1, width=32)),
    hnp.arrays(np.float32, (30, 4), elements=st.floats(-1, 2, width=32)),
    st.integers(1, 6),
)
def test_candidates_come_best_first_inside_the_photo_and_never_more_than_asked(scores, boxes, k):
    found = select_candidates(scores, boxes, k, 0.6)
    assert 1 <= len(found) <= k
    assert [score for score, _ in found] == sorted((score for score, _ in found), reverse=True)
    assert found[0][0] == pytest.approx(float(scores.max()))
    assert all(0.0 <= value <= 1.0 for _, box in found for value in box)


@given(hnp.arrays(np.float64, (8, 4), elements=st.floats(0, 1)))
def test_overlaps_agree_with_the_scalar_definition(boxes):
    boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], 1)
    expected = [compute_iou(boxes[0], box) for box in boxes]
    assert compute_ious(boxes[0], boxes) == pytest.approx(expected, abs=1e-9)
