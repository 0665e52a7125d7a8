"""Checkpoints of a training run, from which it goes on exactly: kill it, resume it, and the loss curve is the same.

A checkpoint is a folder ``step-00000123``: weights as safetensors, tensors of optimiser and random generators as
``torch.save`` files that load with ``weights_only`` (no pickled objects), and ``about.json``, whose presence makes the
folder a checkpoint. It is written beside its place and renamed, so a killed run leaves a whole one or none. The
position in the data is the step.
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
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from moon_model.training.config import TrainingConfig

CHECKPOINT_ABOUT_FILE = "about.json"
TRAINING_FORMAT_VERSION = 1
CHANGEABLE_SETTINGS = frozenset({
    "run.out", "run.log_every", "run.save_every", "run.keep", "run.keep_photos", "run.chunk", "run.workers",
    "data.verify", "data.image_roots", "model.path", "model.cache", "teachers.corpora", "model.gradient_checkpointing",
})  # fmt: skip
"""Settings that may differ when a run is resumed: where things lie and how they are watched."""


class CheckpointError(ValueError):
    """There is no checkpoint to resume from, or it belongs to another run."""


@dataclass(frozen=True)
class TrainingState:
    """Everything that changes while training, beside the random generators and the step."""

    model: nn.Module
    objectives: nn.ModuleDict
    optimiser: Optimizer
    schedule: LRScheduler

    def get_trainable_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The model's parameters that training moves; the others are those of the model it started from."""
        return ((name, one) for name, one in self.model.named_parameters() if one.requires_grad)


def save_checkpoint(
    folder: Path, step: int, state: TrainingState, config: TrainingConfig, accelerator: Accelerator
) -> Path:
    """Write the checkpoint of a finished step; every process calls this. Older ones beyond ``run.keep`` go.

    Args:
        folder: of the run's checkpoints.
        step: steps done.
        state: what to save; equal on all processes.
        config: of the run.
        accelerator: knows the processes.
    """
    final, draft = folder / f"step-{step:08d}", folder / f".step-{step:08d}.part"
    if accelerator.is_main_process:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
    accelerator.wait_for_everyone()
    torch.save(_random_state(), draft / f"random-{accelerator.process_index}.pt")
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        save_file(
            {name: one.detach().contiguous() for name, one in state.get_trainable_parameters()},
            draft / "weights.safetensors",
        )
        if objectives := state.objectives.state_dict():
            save_file({name: one.contiguous() for name, one in objectives.items()}, draft / "objectives.safetensors")
        moving = {"optimiser": state.optimiser.state_dict(), "schedule": state.schedule.state_dict()}
        torch.save(moving, draft / "optimiser.pt")
        about = {
            "format": TRAINING_FORMAT_VERSION,
            "step": step,
            "processes": accelerator.num_processes,
            "config": _flat(config),
        }
        (draft / CHECKPOINT_ABOUT_FILE).write_text(json.dumps(about, indent=1) + "\n")
        shutil.rmtree(final, ignore_errors=True)  # a step done again after a resume
        draft.rename(final)
        for old in list_checkpoints(folder)[: -config.run.keep]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()
    return final


def load_checkpoint(path: Path, state: TrainingState, config: TrainingConfig, accelerator: Accelerator) -> int:
    """Bring back a checkpoint; returns its step.

    Raises:
        CheckpointError: it was made by other settings or another number of processes.
    """
    about = json.loads((path / CHECKPOINT_ABOUT_FILE).read_text())
    if about["format"] != TRAINING_FORMAT_VERSION:
        raise CheckpointError(f"{path} has format {about['format']}; this code reads {TRAINING_FORMAT_VERSION}")
    then, now = about["config"], _flat(config)
    changed = sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))
    if changed := [
        f"{name}: {then.get(name)!r} → {now.get(name)!r}" for name in changed if name not in CHANGEABLE_SETTINGS
    ]:
        raise CheckpointError(f"{path} was made by other settings ({'; '.join(changed)}); use them, or a new run.out")
    if about["processes"] != accelerator.num_processes:
        raise CheckpointError(
            f"{path} was made by {about['processes']} processes, this run has {accelerator.num_processes}: "
            "the order of the data would differ"
        )
    _load_weights(path / "weights.safetensors", dict(state.get_trainable_parameters()))
    if (path / "objectives.safetensors").is_file():
        state.objectives.load_state_dict(load_file(path / "objectives.safetensors"))
    moving = torch.load(path / "optimiser.pt", map_location="cpu", weights_only=True)
    state.optimiser.load_state_dict(moving["optimiser"])
    state.schedule.load_state_dict(moving["schedule"])
    _restore_random(torch.load(path / f"random-{accelerator.process_index}.pt", weights_only=True))
    return int(about["step"])


def list_checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    return sorted(path.parent for path in folder.glob(f"step-*/{CHECKPOINT_ABOUT_FILE}"))


def find_latest_checkpoint(folder: Path) -> Path:
    """The newest checkpoint of a run.

    Raises:
        CheckpointError: there is none.
    """
    found = list_checkpoints(folder)
    if not found:
        raise CheckpointError(f"no checkpoint in {folder}: nothing to resume; start without --resume")
    return found[-1]


def _load_weights(path: Path, trained: dict[str, nn.Parameter]) -> None:
    stored = load_file(path)
    if stored.keys() != trained.keys():
        wrong = sorted(stored.keys() ^ trained.keys())[:3]
        raise CheckpointError(f"{path} and the model differ in what is trained: {', '.join(wrong)} …")
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(stored[name])


def _flat(config: TrainingConfig) -> dict[str, Any]:
    """Settings by dotted name, as JSON has them."""
    flat: dict[str, Any] = {}
    for table, values in config.model_dump(mode="json").items():
        flat |= (
            {f"{table}.{name}": value for name, value in values.items()}
            if isinstance(values, dict)
            else {table: values}
        )
    return flat


def _random_state() -> dict[str, Tensor | list[Tensor]]:
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def _restore_random(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
