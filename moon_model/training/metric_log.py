"""The record of a run: ``metrics.jsonl`` (one line a step), TensorBoard events, and progress on stderr."""

import json
import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)

METRICS_FILE = "metrics.jsonl"
METRIC_LOG_SECONDS = 15.0


class MetricLog:
    """Writes a run's curve; the main process has one, a context manager.

    TensorBoard events are written where the package is installed (``.venv-train``); ``metrics.jsonl`` always. What a
    run logged after the checkpoint it resumes from is dropped, so that a curve never holds a step twice.

    Args:
        folder: of the run.
        first: step the run starts at.
        last: step it will stop before.
        every: steps between two lines of TensorBoard and progress.
    """

    def __init__(self, folder: Path, *, first: int, last: int, every: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._every, self._last, self._first = every, last, first
        truncate_curve(folder / METRICS_FILE, first)
        self._file = (folder / METRICS_FILE).open("a", encoding="utf-8")
        self._board = _board(folder / "tensorboard", first)
        self._bar = _bar() if sys.stderr.isatty() else None
        self._task = self._bar.add_task("train", total=last, completed=first, said="") if self._bar else None
        self._began = self._spoke = time.monotonic()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Record the scalars of a finished step."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        due = step % self._every == 0 or step == self._last
        if self._board is not None and due:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
        said = f"loss {values['loss']:.4f}"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=step, said=said)
        elif due and (time.monotonic() - self._spoke > METRIC_LOG_SECONDS or step == self._last):
            self._spoke = time.monotonic()
            left = (self._spoke - self._began) / max(step - self._first, 1) * (self._last - step)
            log.info("step %d of %d: %s, about %.0f s left", step, self._last, said, left)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._board is not None:
            self._board.close()
        self._file.close()


def truncate_curve(path: Path, step: int) -> None:
    """Cut a curve after a step; a torn last line goes too."""
    if not path.is_file():
        return
    kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _step(line) <= step]
    path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def read_curve(path: Path) -> list[dict[str, Any]]:
    """The lines of a ``metrics.jsonl``."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _step(line: str) -> float:
    try:
        return int(json.loads(line)["step"])
    except ValueError:
        return float("inf")  # torn by a kill


def _board(folder: Path, first: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  # not in every environment
    except ImportError:
        log.info("TensorBoard is not installed here (it is in .venv-train): %s alone holds the curve", METRICS_FILE)
        return None
    return SummaryWriter(str(folder), purge_step=first + 1)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[said]}"),
        console=Console(stderr=True),
    )
