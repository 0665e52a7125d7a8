"""Tests of the configuration: clear error messages; the shipped configurations load."""

from pathlib import Path

import pytest

from moon_model.training.config import ConfigError, TrainingConfig

REPOSITORY = Path(__file__).resolve().parents[3]
GOOD = '[run]\nout = "o"\nsteps = 5\n[data]\npairs = "p"\nimage_roots = ["i"]\n'


def read(tmp_path: Path, text: str) -> TrainingConfig:
    path = tmp_path / "c.toml"
    path.write_text(text)
    return TrainingConfig.read(path)


CONFIGS = sorted((REPOSITORY / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", [path for path in CONFIGS if "tiny" not in path.name], ids=lambda path: path.name)
def test_shipped_configurations_load(path: Path) -> None:
    assert TrainingConfig.read(path).run.steps > 0


@pytest.mark.parametrize("path", [path for path in CONFIGS if "tiny" in path.name], ids=lambda path: path.name)
def test_a_configuration_of_the_recipe_names_its_command(path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"\[teachers\] .* python -m recipes\.moon_tiny\.train --config {path}"):
        TrainingConfig.read(path)


def test_there_are_configurations_for_both_sizes() -> None:
    assert {"moon-tiny.toml", "moon-3b.toml"} <= {path.name for path in CONFIGS}


def test_defaults_fill_a_small_file(tmp_path: Path) -> None:
    config = read(tmp_path, GOOD)
    assert (config.loss.temperature, config.loss.margin, config.run.precision) == (0.02, 0.1, "no")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "[loss]\ntemperature = 0\n", "loss.temperature: input should be greater than 0, not 0"),
        (GOOD + "[loss]\ntemprature = 0.1\n", r"loss.temprature is no known setting \(misspelt\?\)"),
        (GOOD + '[model]\ncache = "c"\n', 'model: cache keeps features of a frozen tower: add "backbone.vision"'),
        (GOOD + '[model]\ndtype = "bfloat16"\n', "bfloat16 weights need run.precision"),
        (GOOD.replace("steps = 5\n", ""), "run.steps is missing"),
        ('[run]\nout = "o"\nsteps = 1\n', r"the file: nothing to learn from: the file needs a \[data\] table"),
        ("steps = ", "cannot be read"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, text)


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run.chunk.*; loss.queue_age|loss.queue_age.*; run.chunk"):
        read(tmp_path, GOOD.replace("steps = 5", "steps = 5\nchunk = 0") + "[loss]\nqueue_age = 0\n")


def test_a_missing_file_says_where_examples_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file: .*x.toml; configs/ holds examples"):
        TrainingConfig.read(tmp_path / "x.toml")
