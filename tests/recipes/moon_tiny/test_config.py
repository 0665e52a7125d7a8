"""Tests of the recipe's settings: all shipped stages load, and the keys are those that checkpoints compare."""

from pathlib import Path

import pytest

from moon_model.training.config import ConfigError, TrainingConfig
from recipes.moon_tiny.config import DistillationConfig

CONFIGS = sorted((Path(__file__).resolve().parents[3] / "configs").glob("moon-tiny*.toml"))
GOOD = '[run]\nout = "o"\nsteps = 5\n[teachers]\ncorpora = "c"\n'


def read(tmp_path: Path, text: str) -> DistillationConfig:
    path = tmp_path / "c.toml"
    path.write_text(text)
    return DistillationConfig.read(path)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_stages_load(path: Path) -> None:
    assert DistillationConfig.read(path).run.steps > 0


def test_teachers_without_purchases_are_enough(tmp_path: Path) -> None:
    config = read(tmp_path, GOOD)
    assert config.data is None
    assert set(config.model_dump()) == {"seed", "model", "data", "loss", "teachers", "optimiser", "run"}


def test_only_the_folder_of_the_corpora_may_change_in_a_resumed_run() -> None:
    assert DistillationConfig.changeable - TrainingConfig.changeable == {"teachers.corpora"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.partition("[teachers]")[0], "teachers is missing"),
        (GOOD + "texts = 0\nimages = 0\naligned = 0\n", r"teachers: texts, images, aligned and labelled are all 0"),
        (GOOD + "weight = 0\n", "teachers.weight: input should be greater than 0, not 0"),
        (GOOD + "wieght = 1\n", r"teachers.wieght is no known setting \(misspelt\?\)"),
        (GOOD + '[model]\ndtype = "bfloat16"\n', "bfloat16 weights need run.precision"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, text)
