"""Tests that objectives are modules: their parameters and buffers are saved with the model."""

import torch
from torch import Tensor, nn

from moon_model.training.objective import Objective, StepInput


class Scaled(Objective):
    name = "scaled"

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))

    def prepare_step(self, step: int) -> StepInput:
        return StepInput([], self._loss)

    def _loss(self, embeddings: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return embeddings.sum() * self.scale, {}


def test_an_objective_weighs_one_and_remembers_nothing_unless_it_says_so() -> None:
    objective = Scaled()
    objective.after_step(3)
    assert objective.weight == 1.0
    assert list(objective.state_dict()) == ["scale"]
    assert list(nn.ModuleDict({objective.name: objective}).state_dict()) == ["scaled.scale"]
