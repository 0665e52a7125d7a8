"""Tests that the targets are an isometric copy of the teachers' vectors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from moon_model.backbones.compact import GRID_FEATURES
from moon_model.training.config import ConfigError
from recipes.moon_tiny.distillation_targets import (
    COLOUR_WEIGHT,
    VisualBasis,
    build_product_targets,
    build_text_targets,
    check_target_dimensions,
    compute_distillation_loss,
    summarise_grids,
)


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_text_targets_keep_every_cosine_of_the_teacher() -> None:
    teacher = unit(6, 5)
    targets = build_text_targets(teacher.numpy().astype(np.float16), 12)
    assert targets.shape == (6, 12)
    torch.testing.assert_close(targets @ targets.T, teacher @ teacher.T, atol=2e-3, rtol=0)


def test_two_products_are_as_alike_as_their_words_and_pictures_on_average() -> None:
    texts, visual = unit(6, 5), unit(6, 4, seed=1)
    targets = build_product_targets(texts, visual, 10)
    torch.testing.assert_close(targets @ targets.T, (texts @ texts.T + visual @ visual.T) / 2)
    torch.testing.assert_close(build_text_targets(texts, 10) @ targets.T * 2**0.5, texts @ texts.T)


def test_the_loss_is_zero_at_the_anchors_and_leads_there() -> None:
    targets = unit(4, 6)
    assert compute_distillation_loss(targets, targets)[0].item() == pytest.approx(0, abs=1e-6)
    student = unit(4, 6, seed=1).requires_grad_()
    loss, seen = compute_distillation_loss(targets, student)
    assert loss.item() == pytest.approx(1 - F.cosine_similarity(student, targets).mean().item(), abs=1e-6)
    assert seen["cosine"].item() == pytest.approx(1 - loss.item())
    loss.backward()
    torch.testing.assert_close(student.grad, -targets / 4)


def test_the_axes_are_the_widest_and_survive_the_disk(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    spread = torch.tensor([0.1, 3.0, 0.2, 1.0])
    summaries = torch.randn(500, 4, generator=draw) * spread + 7.0
    basis = VisualBasis.fit(summaries, 2)
    assert basis.axes.abs().argmax(0).tolist() == [1, 3]
    torch.testing.assert_close(basis.axes.T @ basis.axes, torch.eye(2), atol=1e-5, rtol=0)
    basis.save(tmp_path)
    again = VisualBasis.read(tmp_path)
    assert torch.equal(again.project(summaries), basis.project(summaries))
    assert basis.project(summaries).norm(dim=1) == pytest.approx(torch.ones(500))


def test_absent_axes_are_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no visual.npz .*recipes.weight_import"):
        VisualBasis.read(tmp_path)


def test_a_summary_is_the_mean_of_all_views_features_and_colours() -> None:
    grids = torch.rand(2, GRID_FEATURES, 3, 3, generator=torch.Generator().manual_seed(0))
    found = summarise_grids(grids)
    mean = grids.mean((0, 2, 3))
    torch.testing.assert_close(found[:1280], F.normalize(mean[:1280], dim=0))
    torch.testing.assert_close(found[1280:], COLOUR_WEIGHT * F.normalize(mean[1280:].sqrt(), dim=0))


def test_targets_that_do_not_fit_are_refused() -> None:
    check_target_dimensions(10, [6, 4])
    with pytest.raises(ConfigError, match=r"6 \+ 5 dimensions do not fit into embeddings of 10"):
        check_target_dimensions(10, [6, 5])
