"""The training loop: embed in chunks, compare, step; every process does the same with its own share of the pairs.

Gradients are averaged over processes here and not by DistributedDataParallel: with GradCache a step has many backward
passes, some of which touch no image or no text, and a wrapper that waits for every parameter would hang on those.
"""

import logging
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from moon_model.modeling_moon import MoonModel
from moon_model.processing_moon import MoonBatch, PreparedProduct
from moon_model.training.checkpointing import TrainingState, load_checkpoint, save_checkpoint
from moon_model.training.config import TrainingConfig
from moon_model.training.grad_cache import backward_in_chunks
from moon_model.training.metric_log import MetricLog
from moon_model.training.objective import Objective, StepInput
from moon_model.training.optimizer import build_optimiser, build_schedule

log = logging.getLogger(__name__)

Collate = Callable[[Sequence[PreparedProduct]], MoonBatch]

_MIN_CUT = {False: 12, True: 256}
"""Products of a batch of like lengths, by whether a GPU computes: a pass there costs more than padding."""


class TrainingError(RuntimeError):
    """Training cannot go on; the message says since when and what to try."""


class Trainer:
    """Trains a model on one or more objectives.

    Args:
        model: on its device, in training mode; frozen parameters do not require gradients.
        objectives: at least one; their parameters and buffers are moved to the model's device.
        collate: pads prepared products to the model's batch (the processor, or ``cached_batch``).
        config: of the run.
        accelerator: device, precision and processes.
    """

    def __init__(
        self,
        model: MoonModel,
        objectives: Sequence[Objective],
        collate: Collate,
        config: TrainingConfig,
        accelerator: Accelerator,
    ) -> None:
        self.model, self.collate, self.config, self.accelerator = model, collate, config, accelerator
        self.objectives = nn.ModuleDict({one.name: one for one in objectives}).to(accelerator.device)
        optimiser = build_optimiser([model, self.objectives], config.optimiser)
        schedule = build_schedule(optimiser, config.optimiser, config.run.steps)
        self.state = TrainingState(model, self.objectives, optimiser, schedule)
        self.steps_done = 0

    @property
    def checkpoint_folder(self) -> Path:
        """Folder of the run's checkpoints."""
        return self.config.run.out / "checkpoints"

    def resume(self, checkpoint: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            CheckpointError: it belongs to other settings.
        """
        self.steps_done = load_checkpoint(checkpoint, self.state, self.config, self.accelerator)

    def run(self, until: int | None = None) -> None:
        """Train to the end of the schedule, or until ``until`` steps are done in all, and write a checkpoint.

        Ctrl-C and SIGTERM let the step in hand finish and write a checkpoint as well.

        Raises:
            TrainingError: the loss is not finite.
        """
        last = min(until or self.config.run.steps, self.config.run.steps)
        if self.steps_done >= last:
            return
        with _stop_requests() as stop, ThreadPoolExecutor(1) as ahead, self._log(last) as metrics:
            waiting = ahead.submit(self._prepare_inputs, self.steps_done)
            while self.steps_done < last:
                step, works = self.steps_done, waiting.result()
                if step + 1 < last:
                    waiting = ahead.submit(self._prepare_inputs, step + 1)
                values = self.train_step(step, works)
                self.steps_done = step + 1
                if metrics is not None:
                    metrics.write(self.steps_done, values)
                stopped = stop.is_requested and self.accelerator.num_processes == 1
                if stopped or self.steps_done == last or self.steps_done % self.config.run.save_every == 0:
                    save_checkpoint(self.checkpoint_folder, self.steps_done, self.state, self.config, self.accelerator)
                if stopped:
                    log.warning("stopped after step %d as asked; --resume goes on from there", self.steps_done)
                    return

    def train_step(self, step: int, works: Mapping[str, StepInput]) -> dict[str, float]:
        """Do one optimiser step and return its scalars, those of objective o named ``o/…``."""
        began = time.monotonic()
        self.state.optimiser.zero_grad(set_to_none=True)
        values: dict[str, float] = {}
        total, balance = 0.0, 0.0
        for name, work in works.items():
            objective = self._objective(name)
            loss, extra, seen = self._backward(objective, work)
            values |= {f"{name}/loss": loss} | {f"{name}/{key}": float(value) for key, value in seen.items()}
            total, balance = total + objective.weight * loss, balance + extra
        if not math.isfinite(total + balance):
            raise TrainingError(
                f"the loss is {total + balance} at step {step + 1}; resume from the last checkpoint with a lower "
                "optimiser.learning_rate or optimiser.clip"
            )
        self._average_gradients()
        norm = nn.utils.clip_grad_norm_(self._get_trained_parameters(), self.config.optimiser.clip)
        rate = self.state.schedule.get_last_lr()[0]
        self.state.optimiser.step()
        self.state.schedule.step()
        for name in works:
            self._objective(name).after_step(step)
        took = max(time.monotonic() - began, 1e-9)
        products = sum(len(work.prepared) for work in works.values())
        return {
            "loss": total, **values, "balance": balance, "learning_rate": rate, "gradient_norm": float(norm),
            "seconds": took, "products_per_second": products * self.accelerator.num_processes / took,
        }  # fmt: skip

    def _backward(self, objective: Objective, work: StepInput) -> tuple[float, float, Mapping[str, Tensor]]:
        """Accumulate one objective's gradients; returns its loss, the weighted balance term and its scalars."""
        order = sorted(range(len(work.prepared)), key=lambda index: work.prepared[index].num_tokens)
        size = self.config.run.chunk
        parts = [order[start : start + size] for start in range(0, len(order), size)]
        chunks = [self._collate_by_length([work.prepared[index] for index in part]) for part in parts]
        place = torch.tensor(order, device=self.accelerator.device).argsort()
        seen: dict[str, Tensor] = {}

        def compare(embeddings: Tensor) -> Tensor:
            loss, scalars = work.loss(embeddings[place])
            seen.update(scalars, loss=loss.detach())
            return loss * objective.weight

        _, balance = backward_in_chunks(self._embed, chunks, compare, scale=lambda value: value)
        loss = seen.pop("loss")
        return float(loss), float(balance), seen

    def _collate_by_length(self, ordered: Sequence[PreparedProduct]) -> list[MoonBatch]:
        lengths = [one.num_tokens for one in ordered]
        least = _MIN_CUT[self.accelerator.device.type == "cuda"]
        return [self.collate(ordered[cut]) for cut in split_by_length(lengths, min_size=least)]

    def _embed(self, batches: Sequence[MoonBatch]) -> tuple[Tensor, Tensor]:
        """Embed a chunk, in batches of similar length; the balance term is their mean."""
        embeddings, balance = [], []
        for batch in batches:
            with self.accelerator.autocast():
                output = self.model(**batch.to(self.accelerator.device))
            embeddings.append(output.embedding)
            balance.append(output.router_stats.balance_loss)
        return torch.cat(embeddings), torch.stack(balance).mean() * self.model.config.router_aux_loss_coef

    def _average_gradients(self) -> None:
        if self.accelerator.num_processes == 1:
            return
        for parameter in self._get_trained_parameters():
            if parameter.grad is None:  # nothing of it was used on this process
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad.copy_(self.accelerator.reduce(parameter.grad, "mean"))

    def _get_trained_parameters(self) -> list[nn.Parameter]:
        return [one for group in self.state.optimiser.param_groups for one in group["params"]]

    def _prepare_inputs(self, step: int) -> dict[str, StepInput]:
        return {name: self._objective(name).work(step) for name in self.objectives}

    def _objective(self, name: str) -> Objective:
        found: Objective = self.objectives[name]  # type: ignore[assignment]  # a ModuleDict holds modules
        return found

    @contextmanager
    def _log(self, last: int) -> Iterator[MetricLog | None]:
        if not self.accelerator.is_main_process:
            yield None
            return
        run = self.config.run
        with MetricLog(run.out, first=self.steps_done, last=last, every=run.log_every) as metrics:
            yield metrics


def split_by_length(lengths: Sequence[int], *, min_size: int, growth: float = 1.3) -> list[slice]:
    """Cut a sorted batch where padding would cost more than another pass: queries of ten words beside photos.

    Args:
        lengths: tokens of each product, ascending.
        min_size: products of a cut before another one may begin.
        growth: longest product of a cut, as a multiple of its shortest.

    Returns:
        Slices that cover the batch in order.
    """
    cuts = [0]
    for place, length in enumerate(lengths):
        if place - cuts[-1] >= min_size and length > growth * lengths[cuts[-1]] and len(lengths) - place >= min_size:
            cuts.append(place)
    return [slice(start, end) for start, end in zip(cuts, [*cuts[1:], len(lengths)], strict=True)]


class _Stop:
    """Whether someone asked the process to end."""

    is_requested = False


@contextmanager
def _stop_requests() -> Iterator[_Stop]:
    """Turn the first SIGINT or SIGTERM into a request while the block runs; a second one kills as always."""
    stop = _Stop()
    before: dict[int, Any] = {}

    def ask(number: int, _: object) -> None:
        stop.is_requested = True
        signal.signal(number, before[number])

    try:
        for number in (int(signal.SIGINT), int(signal.SIGTERM)):
            before[number] = signal.signal(number, ask)
    except ValueError:
        log.debug("not in the main thread: signals are not caught")
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
