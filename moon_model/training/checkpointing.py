"""Checkpoints of a training run. A run that is killed and resumed has the same loss curve as an uninterrupted run.

A checkpoint is a folder ``step-00000123``: weights as safetensors, tensors of the optimiser and the random generators
as ``torch.save`` files that load with ``weights_only`` (no pickled objects), and ``about.json``, which is written last.
The folder is written under another name and renamed, so a killed run leaves no incomplete checkpoint. The position in
the data follows from the step.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from moon_model.training.config import TrainingConfig
from moon_model.training.random_state import get_random_state, set_random_state

CHECKPOINT_ABOUT_FILE = "about.json"
TRAINING_FORMAT_VERSION = 1


class CheckpointError(ValueError):
    """There is no checkpoint to resume from, or it does not fit this run."""


@dataclass(frozen=True)
class TrainingState:
    """Everything that training changes, except the random generators and the step."""

    model: nn.Module
    objectives: nn.ModuleDict
    optimiser: Optimizer
    schedule: LRScheduler

    def get_trainable_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield name and parameter for each trained parameter of the model; the others are in ``model.path``."""
        return ((name, parameter) for name, parameter in self.model.named_parameters() if parameter.requires_grad)


def save_checkpoint(
    folder: Path, step: int, state: TrainingState, config: TrainingConfig, accelerator: Accelerator
) -> Path:
    """Write the checkpoint of a finished step and delete old ones beyond ``run.keep``; every process calls this.

    Args:
        folder: folder of the run's checkpoints.
        step: number of finished steps.
        state: state to save, equal on all processes.
        config: settings of the run; load_checkpoint compares them.
        accelerator: rank and number of processes.

    Returns:
        Folder of the checkpoint.
    """
    final = folder / f"step-{step:08d}"
    draft = folder / f".step-{step:08d}.part"
    # 1. The main process makes the draft folder; each process writes its random state into it.
    if accelerator.is_main_process:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
    accelerator.wait_for_everyone()
    torch.save(get_random_state(), draft / f"random-{accelerator.process_index}.pt")
    accelerator.wait_for_everyone()
    # 2. The main process writes what is equal everywhere, about.json last, and renames the draft.
    if accelerator.is_main_process:
        weights = {name: weight.detach().contiguous() for name, weight in state.get_trainable_parameters()}
        save_file(weights, draft / "weights.safetensors")
        if objectives := state.objectives.state_dict():
            save_file({name: one.contiguous() for name, one in objectives.items()}, draft / "objectives.safetensors")
        torch.save(
            {"optimiser": state.optimiser.state_dict(), "schedule": state.schedule.state_dict()}, draft / "optimiser.pt"
        )
        about = {"format": TRAINING_FORMAT_VERSION, "step": step, "processes": accelerator.num_processes}
        document = json.dumps(about | {"config": _flatten_config(config)}, indent=1)
        (draft / CHECKPOINT_ABOUT_FILE).write_text(document + "\n")
        shutil.rmtree(final, ignore_errors=True)  # a resumed run does this step a second time
        draft.rename(final)
        for old in list_checkpoints(folder)[: -config.run.keep]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()
    return final


def load_checkpoint(path: Path, state: TrainingState, config: TrainingConfig, accelerator: Accelerator) -> int:
    """Restore the state of a checkpoint and return its step.

    Raises:
        CheckpointError: it was made with other settings, another number of processes, or other trained parameters.
    """
    # 1. Refuse a checkpoint of another format, of other settings, or of another number of processes.
    about = json.loads((path / CHECKPOINT_ABOUT_FILE).read_text())
    if about["format"] != TRAINING_FORMAT_VERSION:
        raise CheckpointError(f"{path} has format {about['format']}; this code reads {TRAINING_FORMAT_VERSION}")
    old = about["config"]
    new = _flatten_config(config)
    fixed = sorted((old.keys() | new.keys()) - config.changeable)
    changed = [f"{name}: {old.get(name)!r} → {new.get(name)!r}" for name in fixed if old.get(name) != new.get(name)]
    if changed:
        raise CheckpointError(f"{path} was made by other settings ({'; '.join(changed)}); use them, or a new run.out")
    if about["processes"] != accelerator.num_processes:
        raise CheckpointError(
            f"{path} was made by {about['processes']} processes, this run has {accelerator.num_processes}: "
            "the order of the data would differ"
        )
    # 2. Restore weights, objectives, optimiser and schedule, and this process's random generators.
    _load_weights(path / "weights.safetensors", state)
    if (path / "objectives.safetensors").is_file():
        state.objectives.load_state_dict(load_file(path / "objectives.safetensors"))
    saved = torch.load(path / "optimiser.pt", map_location="cpu", weights_only=True)
    state.optimiser.load_state_dict(saved["optimiser"])
    state.schedule.load_state_dict(saved["schedule"])
    set_random_state(torch.load(path / f"random-{accelerator.process_index}.pt", weights_only=True))
    return int(about["step"])


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints of a run, oldest first."""
    return sorted(path.parent for path in folder.glob(f"step-*/{CHECKPOINT_ABOUT_FILE}"))


def find_latest_checkpoint(folder: Path) -> Path:
    """Return the newest checkpoint of a run.

    Raises:
        CheckpointError: there is none.
    """
    if not (found := list_checkpoints(folder)):
        raise CheckpointError(f"no checkpoint in {folder}: nothing to resume; start without --resume")
    return found[-1]


def _load_weights(path: Path, state: TrainingState) -> None:
    """Copy stored weights into the trained parameters; raises CheckpointError if their names differ."""
    stored = load_file(path)
    if differing := stored.keys() ^ dict(state.get_trainable_parameters()).keys():
        raise CheckpointError(f"{path} and the model differ in what is trained: {', '.join(sorted(differing)[:3])} …")
    state.model.load_state_dict(stored, strict=False)  # the other parameters are not trained


def _flatten_config(config: TrainingConfig) -> dict[str, Any]:
    """Return all settings in JSON form by dotted name."""
    flat: dict[str, Any] = {}
    for table, values in config.model_dump(mode="json").items():
        if isinstance(values, dict):
            flat |= {f"{table}.{name}": value for name, value in values.items()}
        else:
            flat[table] = values
    return flat
