"""The training loop: gradients of all objectives by GradCache, averaged over processes, and an optimiser update.

Every process runs the same loop on its own share of the data. Gradients are averaged here and not by
DistributedDataParallel: with GradCache a step has many backward passes, and some use no image or no text, while DDP
waits for every parameter in each pass and would hang (docs/decisions/0027-gradcache.md).
"""

import logging
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Event, current_thread, main_thread
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

_MIN_BATCH = {"cpu": 12, "cuda": 256}
"""Minimum number of products of a forward pass. On a GPU an additional pass costs more than padding."""


class TrainingError(RuntimeError):
    """Training cannot continue; the message names the step and what to change."""


@dataclass(eq=False, repr=False)
class Trainer:
    """Trains a model on one or more objectives.

    Args:
        model: model on its device, in training mode; frozen parameters do not require gradients.
        objectives: at least one; their parameters and buffers are moved to the device.
        collate: pads prepared products to a batch (the processor, or ``collate_cached``).
        config: settings of the run.
        accelerator: device, precision and processes.
    """

    model: MoonModel
    objectives: Sequence[Objective]
    collate: Collate
    config: TrainingConfig
    accelerator: Accelerator

    def __post_init__(self) -> None:
        self._by_name = {one.name: one.to(self.accelerator.device) for one in self.objectives}
        modules = nn.ModuleDict(self._by_name)
        optimiser = build_optimiser([self.model, modules], self.config.optimiser)
        schedule = build_schedule(optimiser, self.config.optimiser, self.config.run.steps)
        self.state = TrainingState(self.model, modules, optimiser, schedule)
        self.steps_done = 0

    def resume(self, checkpoint: Path) -> None:
        """Restore the state of a checkpoint.

        Raises:
            CheckpointError: it was made with other settings.
        """
        self.steps_done = load_checkpoint(checkpoint, self.state, self.config, self.accelerator)

    def run(self, until: int | None = None) -> None:
        """Train to the end of the schedule, or until ``until`` steps are done in total, and write a checkpoint.

        After Ctrl-C or SIGTERM the current step is finished and a checkpoint is written.

        Raises:
            TrainingError: the loss is not finite.
        """
        last = min(until or self.config.run.steps, self.config.run.steps)
        if self.steps_done >= last:
            return
        folder = self.config.run.out / "checkpoints"
        log_settings = {"first": self.steps_done, "last": last, "every": self.config.run.log_every}
        metric_log = MetricLog(self.config.run.out, **log_settings) if self.accelerator.is_main_process else None
        with _catch_stop_signals() as stop, ThreadPoolExecutor(1) as prefetcher, metric_log or nullcontext() as metrics:
            pending = prefetcher.submit(self._prepare_inputs, self.steps_done)
            for step in range(self.steps_done, last):
                # 1. Take the prepared input; the next step's is prepared during this one.
                inputs = pending.result()
                if step + 1 < last:
                    pending = prefetcher.submit(self._prepare_inputs, step + 1)
                # 2. Train and log.
                values = self.train_step(step, inputs)
                self.steps_done = step + 1
                if metrics is not None:
                    metrics.write(self.steps_done, values)
                # 3. Save a checkpoint when one is due; stop after a signal.
                is_stopped = stop.is_set() and self.accelerator.num_processes == 1
                if is_stopped or self.steps_done == last or self.steps_done % self.config.run.save_every == 0:
                    save_checkpoint(folder, self.steps_done, self.state, self.config, self.accelerator)
                if is_stopped:
                    log.warning("stopped after step %d as requested; continue with --resume", self.steps_done)
                    return

    def train_step(self, step: int, inputs: Mapping[str, StepInput]) -> dict[str, float]:
        """Do one training step: gradients of all objectives, then one update of the weights.

        Args:
            step: number of steps done before.
            inputs: input of each objective by its name.

        Returns:
            Scalars for the log; those of objective o are named ``o/…``.
        """
        started = time.monotonic()
        # 1. Accumulate the gradients of the weighted sum of all objectives.
        self.state.optimiser.zero_grad(set_to_none=True)
        values: dict[str, float] = {}
        total = 0.0
        total_balance = 0.0
        for name, step_input in inputs.items():
            objective = self._by_name[name]
            loss, balance, scalars = self._backward(objective, step_input)
            values[f"{name}/loss"] = loss
            values |= {f"{name}/{key}": float(value) for key, value in scalars.items()}
            total += objective.weight * loss
            total_balance += balance
        # 2. Stop before a loss that is not finite changes the weights.
        if not math.isfinite(total + total_balance):
            raise TrainingError(
                f"the loss is {total + total_balance} at step {step + 1}; resume from the last checkpoint with a lower "
                "optimiser.learning_rate or optimiser.clip"
            )
        # 3. Average over the processes, clip, update weights and learning rate.
        self._average_gradients()
        norm = nn.utils.clip_grad_norm_(self._get_trained_parameters(), self.config.optimiser.clip)
        learning_rate = self.state.schedule.get_last_lr()[0]
        self.state.optimiser.step()
        self.state.schedule.step()
        # 4. Update the state of the objectives, such as the queue of temporal negatives.
        for name in inputs:
            self._by_name[name].after_step(step)
        # 5. Scalars for the log, with the throughput of all processes.
        seconds = max(time.monotonic() - started, 1e-9)
        products = sum(len(step_input.prepared) for step_input in inputs.values())
        return {
            "loss": total, **values, "balance": total_balance, "learning_rate": learning_rate,
            "gradient_norm": float(norm), "seconds": seconds,
            "products_per_second": products * self.accelerator.num_processes / seconds,
        }  # fmt: skip

    def _backward(self, objective: Objective, step_input: StepInput) -> tuple[float, float, Mapping[str, Tensor]]:
        """Accumulate the gradients of one objective; returns its loss, its balance term and its scalars."""
        # 1. Sort the products by length and cut them into chunks, which are collated with little padding.
        prepared = step_input.prepared
        order = sorted(range(len(prepared)), key=lambda index: prepared[index].num_tokens)
        size = self.config.run.chunk
        parts = [order[start : start + size] for start in range(0, len(order), size)]
        chunks = [self._collate_by_length([prepared[index] for index in part]) for part in parts]
        # 2. The loss gets the embeddings in the order of the products.
        inverse = torch.tensor(order, device=self.accelerator.device).argsort()
        scalars: dict[str, Tensor] = {}

        def compute_loss(embeddings: Tensor) -> Tensor:
            loss, values = step_input.loss(embeddings[inverse])
            scalars.update(values, loss=loss.detach())
            return loss * objective.weight

        # 3. Forward and backward passes chunk by chunk.
        _, balance = backward_in_chunks(self._embed, chunks, compute_loss)
        loss = scalars.pop("loss")
        return float(loss), float(balance), scalars

    def _collate_by_length(self, ordered: Sequence[PreparedProduct]) -> list[MoonBatch]:
        """Return the batches of a chunk whose products are sorted by length."""
        lengths = [product.num_tokens for product in ordered]
        min_size = _MIN_BATCH["cuda" if self.accelerator.device.type == "cuda" else "cpu"]
        return [self.collate(ordered[cut]) for cut in split_by_length(lengths, min_size=min_size)]

    def _embed(self, batches: Sequence[MoonBatch]) -> tuple[Tensor, Tensor]:
        """Return the embeddings [n, D] of a chunk, given in batches of similar length, and its mean balance term."""
        embeddings = []
        balance = []
        for batch in batches:
            with self.accelerator.autocast():
                output = self.model(**batch.to(self.accelerator.device))
            embeddings.append(output.embedding)
            balance.append(output.router_stats.balance_loss)
        return torch.cat(embeddings), torch.stack(balance).mean() * self.model.config.router_aux_loss_coef

    def _average_gradients(self) -> None:
        """Replace each gradient by its mean over all processes; a process that did not use a parameter counts as 0."""
        if self.accelerator.num_processes == 1:
            return
        for parameter in self._get_trained_parameters():
            if parameter.grad is None:  # this process used it nowhere
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad.copy_(self.accelerator.reduce(parameter.grad, "mean"))

    def _get_trained_parameters(self) -> list[nn.Parameter]:
        return [one for group in self.state.optimiser.param_groups for one in group["params"]]

    def _prepare_inputs(self, step: int) -> dict[str, StepInput]:
        """Return each objective's input of a step; runs in the prefetching thread."""
        return {one.name: one.prepare_step(step) for one in self.objectives}


def split_by_length(lengths: Sequence[int], *, min_size: int, growth: float = 1.3) -> list[slice]:
    """Return slices of a sorted batch within which padding costs less than another pass.

    So short text queries are not padded to the length of products with photos.

    Args:
        lengths: number of tokens of each product, ascending.
        min_size: minimum number of products of a slice.
        growth: maximum ratio of the longest to the shortest product of a slice, unless it would be too small.

    Returns:
        Slices that cover the batch in order.
    """
    cuts = [0]
    for row, length in enumerate(lengths):
        if row - cuts[-1] >= min_size and length > growth * lengths[cuts[-1]] and len(lengths) - row >= min_size:
            cuts.append(row)
    return [slice(start, end) for start, end in zip(cuts, [*cuts[1:], len(lengths)], strict=True)]


@contextmanager
def _catch_stop_signals() -> Iterator[Event]:
    """Yield an event that the first SIGINT or SIGTERM sets; a second one has its usual effect."""
    stop = Event()
    numbers = (signal.SIGINT, signal.SIGTERM) if current_thread() is main_thread() else ()  # elsewhere it is an error
    handlers: dict[int, Any] = {number: signal.getsignal(number) for number in numbers}

    def request_stop(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, handlers[number])

    for number in numbers:
        signal.signal(number, request_stop)
    try:
        yield stop
    finally:
        for caught, handler in handlers.items():
            signal.signal(caught, handler)
