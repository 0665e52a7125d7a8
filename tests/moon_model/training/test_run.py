"""Tests of `moon train`: 60 steps lower the loss and raise R@1; a killed and resumed run has the same curve."""

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from moon_model.modeling_moon import MoonModel
from moon_model.processing_moon import MoonProcessor
from moon_model.training import trainer
from moon_model.training.checkpointing import CheckpointError
from moon_model.training.config import ConfigError, TrainingConfig
from moon_model.training.examples import Examples
from moon_model.training.metric_log import read_curve
from moon_model.training.pairs import PairDataError
from moon_model.training.run import open_pairs, run_training
from tests.moon_model.training.tiny_run import tiny_config


def recall_at_1(shop: Path, model_folder: Path) -> float:
    """Share of all queries whose nearest item is the one bought."""
    from moon_model.evaluation.metrics import compute_hits, search_top_k  # .venv-train lacks scipy

    model, processor = MoonModel.from_pretrained(model_folder).eval(), MoonProcessor.from_pretrained(model_folder)
    data = tiny_config(shop, shop / "unused").data
    assert data is not None
    pairs = [pair for batch in open_pairs(data).iter_epoch(0) for pair in batch]
    examples = Examples(processor, data.image_roots)
    with torch.inference_mode():
        queries, items = (
            model(**processor(examples.prepare(part))).embedding.numpy()
            for part in ([pair.query for pair in pairs], [pair.item for pair in pairs])
        )
    return float(np.mean(compute_hits(search_top_k(queries, items, 1), [{index} for index in range(len(pairs))], 1)))


def curve(config: TrainingConfig) -> list[float]:
    return [line["loss"] for line in read_curve(config.run.out / "metrics.jsonl")]


def test_sixty_steps_lower_the_loss_and_raise_recall(shop: Path, tmp_path: Path) -> None:
    config = tiny_config(
        shop, tmp_path / "out",
        model={"frozen": ["backbone.vision"], "cache": tmp_path / "features"},
        loss={"queue_warm_up": 40, "queue_size": 24}, optimiser={"learning_rate": 1e-3}, run={"steps": 60, "chunk": 24},
    )  # fmt: skip
    before = recall_at_1(shop, shop / "model")
    folder = run_training(config)
    assert folder is not None
    losses = curve(config)
    assert len(losses) == 60
    assert np.mean(losses[30:40]) < 0.7 * np.mean(losses[:5])  # before the queue makes the task harder
    assert before < 0.2
    assert recall_at_1(shop, folder) > before + 0.3


def test_killed_and_resumed_the_curve_is_the_same(shop: Path, tmp_path: Path) -> None:
    """The run is killed between two checkpoints: steps 6 and 7 are repeated, from the state after step 5."""
    model = {"frozen": ["backbone.vision"], "cache": tmp_path / "features"}
    whole = tiny_config(shop, tmp_path / "whole", model=model)
    assert run_training(whole) is not None
    killed = tiny_config(shop, tmp_path / "killed", model=model)
    assert run_training(killed, steps=7) is None
    shutil.rmtree(killed.run.out / "checkpoints" / "step-00000007")  # as if the process had died before writing it
    folder = run_training(killed, resume=True)
    assert folder is not None
    assert curve(killed) == pytest.approx(curve(whole), abs=1e-6)
    assert len(curve(killed)) == 12
    mine, theirs = (MoonModel.from_pretrained(run.run.out / "model").state_dict() for run in (killed, whole))
    for name, tensor in theirs.items():
        torch.testing.assert_close(mine[name], tensor, atol=1e-6, rtol=0)


def test_sigterm_finishes_the_step_and_writes_a_checkpoint(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(shop, tmp_path / "out")
    real = trainer.Trainer.train_step

    def step(self: trainer.Trainer, number: int, inputs: dict) -> dict[str, float]:
        if number == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, number, inputs)

    monkeypatch.setattr(trainer.Trainer, "train_step", step)
    assert run_training(config) is None
    assert [path.name for path in (tmp_path / "out" / "checkpoints").iterdir()] == ["step-00000003"]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_run_is_never_overwritten_nor_resumed_from_nothing(shop: Path, tmp_path: Path) -> None:
    config = tiny_config(shop, tmp_path / "out")
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* start without --resume"):
        run_training(config, resume=True)
    run_training(config, steps=1)
    with pytest.raises(ConfigError, match="holds a run already: add --resume"):
        run_training(config)
    other = tiny_config(shop, tmp_path / "out", optimiser={"learning_rate": 1e-4})
    with pytest.raises(CheckpointError, match=r"optimiser.learning_rate: 0.005 → 0.0001"):
        run_training(other, resume=True)


def test_damaged_pairs_stop_the_run_before_it_starts(shop: Path, tmp_path: Path) -> None:
    shutil.copytree(shop / "pairs", tmp_path / "pairs")
    with next((tmp_path / "pairs").glob("*.parquet")).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(PairDataError, match="differs from the manifest"):
        run_training(tiny_config(shop, tmp_path / "out", data={"pairs": tmp_path / "pairs"}))


def test_petastorm_asked_for_but_absent_is_explained(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "moon_model.training.reader_petastorm", None)
    with pytest.raises(ConfigError, match=r"data.reader 'petastorm'.*\.venv-train"):
        run_training(tiny_config(shop, tmp_path / "out", data={"reader": "petastorm"}))
