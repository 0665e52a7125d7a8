"""The log of a run: ``metrics.jsonl`` (one line per step), TensorBoard events, and progress on stderr."""

import json
import logging
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)

METRICS_FILE = "metrics.jsonl"
METRIC_LOG_SECONDS = 15.0
"""Minimum time between two lines of progress where stderr is not a terminal."""


class MetricLog(ExitStack):
    """Writer of a run's scalars, a context manager that closes its files. Only the main process has one.

    ``metrics.jsonl`` is always written, TensorBoard events if the package is installed (``.venv-train``). Lines after
    the checkpoint from which a run resumes are removed first, so that the file has each step once.

    Args:
        folder: folder of the run.
        first: number of finished steps at the start.
        last: number of finished steps at the end.
        every: steps between two entries of TensorBoard and progress.
    """

    def __init__(self, folder: Path, *, first: int, last: int, every: int) -> None:
        super().__init__()
        folder.mkdir(parents=True, exist_ok=True)
        self._every = every
        self._first = first
        self._last = last
        truncate_curve(folder / METRICS_FILE, first)
        self._file = self.enter_context((folder / METRICS_FILE).open("a", encoding="utf-8"))
        self._board = self.enter_context(_open_tensorboard(folder / "tensorboard", first))
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[message]}"))
        bar = Progress("train", *columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
        self._bar = self.enter_context(bar)
        self._task = bar.add_task("train", total=last, completed=first, message="")
        self._began = time.monotonic()
        self._last_message = self._began

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write the scalars of a finished step; ``values`` contains "loss"."""
        # 1. metrics.jsonl: every step.
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        # 2. TensorBoard: every n-th step, and the last one.
        is_due = step % self._every == 0 or step == self._last
        if self._board is not None and is_due:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
        # 3. The progress bar, or a line of the log where stderr is not a terminal.
        message = f"loss {values['loss']:.4f}"
        self._bar.update(self._task, completed=step, message=message)
        now = time.monotonic()
        if self._bar.disable and is_due and (now - self._last_message > METRIC_LOG_SECONDS or step == self._last):
            self._last_message = now
            seconds_left = (now - self._began) / max(step - self._first, 1) * (self._last - step)
            log.info("step %d of %d: %s, about %.0f s left", step, self._last, message, seconds_left)


def truncate_curve(path: Path, step: int) -> None:
    """Remove the lines after a step from a ``metrics.jsonl``, and an incomplete last line."""
    if not path.is_file():
        return
    kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _read_step(line) <= step]
    path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def read_curve(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a ``metrics.jsonl``: the scalars of each step by name."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _read_step(line: str) -> float:
    """Return the step of a line; infinity for an incomplete line."""
    try:
        return int(json.loads(line)["step"])
    except ValueError:
        return float("inf")  # incomplete: the process was killed


def _open_tensorboard(folder: Path, first: int) -> Any:
    """Return a context manager that yields TensorBoard's writer, or None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  # not in every environment
    except ImportError:
        log.info("TensorBoard is not installed here (it is in .venv-train); the curve is in %s only", METRICS_FILE)
        return nullcontext()
    return SummaryWriter(str(folder), purge_step=first + 1)
