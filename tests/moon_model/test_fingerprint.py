"""A checkpoint's identity follows its files, and is told without torch."""

import json
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import pytest

from moon_model import checkpoint_dir
from moon_model.configuration_moon import MoonConfig
from moon_model.fingerprint import (
    CONFIG_FILE,
    TOKENIZER_FILE,
    Shape,
    model_shape,
    model_version,
    preprocessing_digest,
    version_with,
    weight_files,
)

TINY = checkpoint_dir("moon-tiny")


def test_the_version_follows_every_file(tmp_path: Path) -> None:
    copy = copytree(TINY, tmp_path / "m")
    assert model_version(copy) == model_version()
    assert len(model_version()) == 64
    assert version_with(copy, "none") != model_version()  # without crops, other vectors
    before, inputs = model_version(copy), preprocessing_digest(copy)
    (copy / "README.md").write_text("another card")
    assert model_version(copy) == before
    shard = weight_files(copy)[0]
    shard.write_bytes(shard.read_bytes() + b" ")
    assert model_version(copy) != before
    assert preprocessing_digest(copy) == inputs
    (copy / TOKENIZER_FILE).write_text((copy / TOKENIZER_FILE).read_text() + " ")
    assert preprocessing_digest(copy) != inputs


@pytest.mark.parametrize("ask", [model_version, preprocessing_digest, model_shape])
def test_a_folder_without_a_model(tmp_path: Path, ask: object) -> None:
    with pytest.raises(FileNotFoundError, match="no model in"):
        ask(tmp_path)  # type: ignore[operator]


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no model was saved there"):
        weight_files(tmp_path)


def test_the_shape_is_that_of_the_configuration(tmp_path: Path, tiny_qwen_config: type) -> None:
    config = MoonConfig.from_pretrained(TINY)
    assert model_shape() == Shape(config.hidden_size, config.max_images)
    qwen = tiny_qwen_config()
    qwen.save_pretrained(tmp_path)
    assert model_shape(tmp_path) == Shape(qwen.hidden_size, qwen.max_images)


@pytest.mark.parametrize("written", ['{"model_type": "llama"}', "[]", "{"])
def test_another_configuration_is_refused(tmp_path: Path, written: str) -> None:
    (tmp_path / CONFIG_FILE).write_text(written)
    with pytest.raises(ValueError, match="not the configuration of a MoonModel"):
        model_shape(tmp_path)


def test_torch_is_not_needed() -> None:
    said = subprocess.run(
        [
            sys.executable, "-c",
            "import sys, json, moon_model.fingerprint, jobs.stages.runner; print(json.dumps([*sys.modules]))",
        ],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert not {"torch", "transformers"} & set(json.loads(said.stdout))
