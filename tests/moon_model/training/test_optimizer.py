"""Tests that the learning rate warms up and falls as a cosine, and that vectors do not decay."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from moon_model.training.config import OptimiserSection
from moon_model.training.optimizer import build_optimiser, build_schedule


def test_warm_up_then_cosine_to_the_final_share() -> None:
    settings = OptimiserSection(learning_rate=0.1, warm_up=0.2, final=0.1)
    optimiser = build_optimiser([nn.Linear(2, 2)], settings)
    schedule = build_schedule(optimiser, settings, steps=20)
    rates = []
    for _ in range(20):
        rates.append(schedule.get_last_lr()[0])
        optimiser.step()
        schedule.step()
    assert rates[:5] == pytest.approx([0, 0.025, 0.05, 0.075, 0.1])
    assert rates[12] == pytest.approx((0.1 + 0.01) / 2)
    assert all(later < earlier for earlier, later in pairwise(rates[4:]))
    assert schedule.get_last_lr()[0] == pytest.approx(0.01)


def test_matrices_decay_and_vectors_do_not() -> None:
    first, second = nn.Linear(2, 2), nn.LayerNorm(2)
    first.bias.requires_grad_(False)
    groups = build_optimiser([first, second], OptimiserSection(weight_decay=0.3)).param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(1, 0.3), (2, 0.0)]


def test_nothing_to_train_is_an_error() -> None:
    frozen = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(ValueError, match="nothing to train"):
        build_optimiser([frozen], OptimiserSection())


def test_a_scalar_alone_is_trained() -> None:
    module = nn.Module()
    module.scalar = nn.Parameter(torch.tensor(1.0))
    assert len(build_optimiser([module], OptimiserSection()).param_groups) == 1
