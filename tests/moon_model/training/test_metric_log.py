"""Tests of the loss curve on disk: one line per step, truncated when a run resumes."""

import logging
import sys
from pathlib import Path

import pytest

from moon_model.training.metric_log import METRICS_FILE, MetricLog, read_curve, truncate_curve


def test_one_line_a_step(tmp_path: Path) -> None:
    with MetricLog(tmp_path, first=0, last=2, every=1) as metrics:
        metrics.write(1, {"loss": 2.0, "contrast/accuracy": 0.5})
        metrics.write(2, {"loss": 1.0, "contrast/accuracy": 0.75})
    assert read_curve(tmp_path / METRICS_FILE) == [
        {"step": 1, "loss": 2.0, "contrast/accuracy": 0.5},
        {"step": 2, "loss": 1.0, "contrast/accuracy": 0.75},
    ]


def test_a_resumed_run_drops_what_it_will_do_again(tmp_path: Path) -> None:
    with MetricLog(tmp_path, first=0, last=9, every=1) as metrics:
        for step in (1, 2, 3):
            metrics.write(step, {"loss": float(step)})
    with (tmp_path / METRICS_FILE).open("a") as file:
        file.write('{"step": 4, "lo')  # killed while writing
    with MetricLog(tmp_path, first=2, last=9, every=1) as metrics:
        metrics.write(3, {"loss": 30.0})
    assert [(line["step"], line["loss"]) for line in read_curve(tmp_path / METRICS_FILE)] == [
        (1, 1.0),
        (2, 2.0),
        (3, 30.0),
    ]


def test_no_curve_yet_is_fine(tmp_path: Path) -> None:
    truncate_curve(tmp_path / METRICS_FILE, 3)
    assert not (tmp_path / METRICS_FILE).exists()


def test_a_log_gets_lines_and_the_last_step_always(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), MetricLog(tmp_path, first=0, last=3, every=1) as metrics:
        for step in (1, 2, 3):
            metrics.write(step, {"loss": 0.5})
    lines = [record.getMessage() for record in caplog.records if "step" in record.getMessage()]
    assert lines == ["step 3 of 3: loss 0.5000, about 0 s left"]


def test_without_tensorboard_the_curve_is_still_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with caplog.at_level(logging.INFO), MetricLog(tmp_path, first=0, last=1, every=1) as metrics:
        metrics.write(1, {"loss": 1.0})
    assert "TensorBoard is not installed here" in caplog.text
    assert len(read_curve(tmp_path / METRICS_FILE)) == 1


def test_tensorboard_events_hold_the_scalars(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is in .venv-train")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with MetricLog(tmp_path, first=0, last=4, every=2) as metrics:
        for step in (1, 2, 3, 4):
            metrics.write(step, {"loss": float(step)})
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("loss")
    assert [(event.step, event.value) for event in events] == [(2, 2.0), (4, 4.0)]
