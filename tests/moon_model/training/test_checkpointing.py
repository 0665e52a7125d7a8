"""Tests of checkpoints: complete or absent, limited in number, loaded without pickles, refused if they do not fit."""

import json
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from moon_model.training.checkpointing import (
    CheckpointError,
    TrainingState,
    find_latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from moon_model.training.config import TrainingConfig
from moon_model.training.negatives import NegativeQueue
from moon_model.training.optimizer import build_optimiser, build_schedule

CPU = Accelerator(cpu=True)


def make_config(out: Path, steps: int = 10, rate: float = 0.1, log_every: int = 1) -> TrainingConfig:
    return TrainingConfig.model_validate({
        "data": {"pairs": "p", "image_roots": ["i"]}, "optimiser": {"learning_rate": rate},
        "run": {"out": out, "steps": steps, "keep": 2, "log_every": log_every},
    })  # fmt: skip


def make_state(config: TrainingConfig, seed: int) -> TrainingState:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    model[0].weight.requires_grad_(False)
    objectives = nn.ModuleDict({"queue": NegativeQueue(4, 3, max_age=2)})
    optimiser = build_optimiser([model], config.optimiser)
    return TrainingState(model, objectives, optimiser, build_schedule(optimiser, config.optimiser, config.run.steps))


def advance(state: TrainingState) -> None:
    state.optimiser.zero_grad()
    state.model(torch.rand(5, 3)).square().sum().backward()
    state.optimiser.step()
    state.schedule.step()
    state.objectives["queue"].steps += 1


def test_weights_optimiser_schedule_queue_and_random_numbers_come_back(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    state = make_state(config, seed=0)
    for _ in range(3):
        advance(state)
    save_checkpoint(tmp_path, 3, state, config, CPU)
    for _ in range(3):
        advance(state)
    other = make_state(config, seed=0)  # frozen weights come from the model a run starts from
    assert (
        load_checkpoint(find_latest_checkpoint(tmp_path), other, make_config(tmp_path / "moved", log_every=5), CPU) == 3
    )
    for _ in range(3):
        advance(other)  # draws its inputs from the restored generator
    for mine, theirs in zip(other.model.parameters(), state.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert other.schedule.get_last_lr() == state.schedule.get_last_lr()
    assert torch.equal(other.objectives["queue"].steps, state.objectives["queue"].steps)


def test_only_the_newest_are_kept_and_a_torn_one_does_not_count(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    state = make_state(config, seed=0)
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, state, config, CPU)
    (tmp_path / "step-00000009").mkdir()
    (tmp_path / ".step-00000010.part").mkdir()
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000002", "step-00000003"]
    assert find_latest_checkpoint(tmp_path).name == "step-00000003"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"processes": 2}, "made by 2 processes, this run has 1"),
        ({"format": 7}, "has format 7; this code reads 1"),
    ],
)
def test_a_checkpoint_of_another_kind_is_refused(tmp_path: Path, change: dict[str, int], message: str) -> None:
    config = make_config(tmp_path)
    state = make_state(config, seed=0)
    about = save_checkpoint(tmp_path, 1, state, config, CPU) / "about.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | change))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(find_latest_checkpoint(tmp_path), state, config, CPU)


def test_other_settings_are_named(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    state = make_state(config, seed=0)
    save_checkpoint(tmp_path, 1, state, config, CPU)
    other = make_config(tmp_path, steps=20, rate=0.2)
    with pytest.raises(CheckpointError, match=r"optimiser.learning_rate: 0.1 → 0.2; run.steps: 10 → 20"):
        load_checkpoint(find_latest_checkpoint(tmp_path), state, other, CPU)


def test_other_trained_parameters_are_refused(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    state = make_state(config, seed=0)
    save_checkpoint(tmp_path, 1, state, config, CPU)
    state.model[0].weight.requires_grad_(True)
    with pytest.raises(CheckpointError, match=r"differ in what is trained: 0.weight"):
        load_checkpoint(find_latest_checkpoint(tmp_path), state, config, CPU)


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint"):
        find_latest_checkpoint(tmp_path)
