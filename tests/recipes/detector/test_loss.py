import pytest
import torch

from moon_model.detection.region import compute_iou
from recipes.detector.loss import assign_cells, compute_detection_loss, compute_paired_iou
from recipes.detector.network import compute_cell_centres

PRODUCT = [0.25, 0.25, 0.75, 0.75, 1.0]
NOTHING = [0.0] * 5


def labels(*rows):
    return torch.tensor([list(rows)])


def test_the_middle_of_a_product_owns_cells_and_the_rest_is_background():
    owner = assign_cells(labels(PRODUCT, NOTHING), 8, 8).reshape(8, 8)
    assert (owner[3:5, 3:5] == 0).all()
    assert (owner == 0).sum() == 4


def test_a_product_smaller_than_a_cell_still_owns_one():
    owner = assign_cells(labels([0.30, 0.30, 0.32, 0.32, 1.0]), 4, 4)
    assert (owner == 0).sum() == 1


def test_the_more_dominant_product_wins_where_two_overlap():
    beside = [*PRODUCT[:4], 0.5]
    assert set(assign_cells(labels(beside, PRODUCT), 8, 8).unique().tolist()) == {-1, 1}


def test_no_labels_leave_only_background():
    assert (assign_cells(labels(NOTHING), 4, 4) == -1).all()


def perfect(box, cells=8):
    boxes = torch.tensor(box).expand(1, cells * cells, 4).clone()
    inside = assign_cells(labels([*box, 1.0]), cells, cells) >= 0
    return torch.where(inside, 12.0, -12.0), boxes


def test_a_perfect_answer_costs_next_to_nothing_and_worse_ones_more():
    logits, boxes = perfect(PRODUCT[:4])
    best = compute_detection_loss(logits, boxes, labels(PRODUCT), (8, 8))
    moved = compute_detection_loss(logits, boxes + 0.05, labels(PRODUCT), (8, 8))
    doubting = compute_detection_loss(-logits, boxes, labels(PRODUCT), (8, 8))
    assert best["loss"] < 1e-3
    assert moved["box"] > best["box"]
    assert doubting["score"] > best["score"]


def test_the_score_is_trained_to_be_dominance_times_iou():
    _, boxes = perfect(PRODUCT[:4])
    shifted = boxes + torch.tensor([0.1, 0.0, 0.1, 0.0])
    overlap = compute_iou(shifted[0, 0].tolist(), PRODUCT[:4])
    costs = {}
    for score in (0.2, 0.5 * overlap, 0.9):
        logits = torch.full((1, 64), -12.0)
        logits[assign_cells(labels(PRODUCT), 8, 8) >= 0] = torch.logit(torch.tensor(score))
        costs[score] = float(compute_detection_loss(logits, shifted, labels([*PRODUCT[:4], 0.5]), (8, 8))["score"])
    assert min(costs, key=costs.get) == 0.5 * overlap


def test_photos_without_products_give_a_finite_loss():
    logits = torch.zeros(1, 16, requires_grad=True)
    losses = compute_detection_loss(logits, torch.rand(1, 16, 4), labels(NOTHING), (4, 4))
    losses["loss"].backward()
    assert torch.isfinite(losses["loss"]) and losses["box"] == 0
    assert (logits.grad > 0).all()


def test_gradients_pull_the_box_towards_the_product():
    sides = torch.full((1, 64, 4), 0.1, requires_grad=True)
    centres = compute_cell_centres(8, 8)
    boxes = torch.cat([centres - sides[..., :2], centres + sides[..., 2:]], -1)
    compute_detection_loss(torch.zeros(1, 64), boxes, labels(PRODUCT), (8, 8))["loss"].backward()
    owned = assign_cells(labels(PRODUCT), 8, 8) >= 0
    assert (sides.grad[owned] < 0).all()  # every side must move outwards


def test_paired_iou_agrees_with_the_scalar_definition_and_giou_is_below_it():
    torch.manual_seed(0)
    corners = torch.rand(50, 2, 4)
    a, b = torch.cat(
        [corners.minimum(corners.roll(2, 2))[..., :2], corners.maximum(corners.roll(2, 2))[..., 2:]], 2
    ).unbind(1)
    overlap, generalised = compute_paired_iou(a, b)
    expected = [compute_iou(x.tolist(), y.tolist()) for x, y in zip(a, b, strict=True)]
    assert overlap.tolist() == pytest.approx(expected, abs=1e-5)
    assert (generalised <= overlap + 1e-6).all()
    assert (generalised >= -1 - 1e-6).all()
