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
    ModelShape,
    combine_version,
    compute_model_version,
    compute_preprocessing_digest,
    list_weight_files,
    read_model_shape,
)

TINY = checkpoint_dir("moon-tiny")


def test_the_version_follows_every_file(tmp_path: Path) -> None:
    copy = copytree(TINY, tmp_path / "m")
    assert compute_model_version(copy) == compute_model_version()
    assert len(compute_model_version()) == 64
    assert combine_version(copy, "none") != compute_model_version()  # without crops, other vectors
    before, inputs = compute_model_version(copy), compute_preprocessing_digest(copy)
    (copy / "README.md").write_text("another card")
    assert compute_model_version(copy) == before
    shard = list_weight_files(copy)[0]
    shard.write_bytes(shard.read_bytes() + b" ")
    assert compute_model_version(copy) != before
    assert compute_preprocessing_digest(copy) == inputs
    (copy / TOKENIZER_FILE).write_text((copy / TOKENIZER_FILE).read_text() + " ")
    assert compute_preprocessing_digest(copy) != inputs


@pytest.mark.parametrize("ask", [compute_model_version, compute_preprocessing_digest, read_model_shape])
def test_a_folder_without_a_model(tmp_path: Path, ask: object) -> None:
    with pytest.raises(FileNotFoundError, match="no model in"):
        ask(tmp_path)  # type: ignore[operator]


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no model was saved there"):
        list_weight_files(tmp_path)


def test_the_shape_is_that_of_the_configuration(tmp_path: Path, tiny_qwen_config: type) -> None:
    config = MoonConfig.from_pretrained(TINY)
    assert read_model_shape() == ModelShape(config.hidden_size, config.max_images)
    qwen = tiny_qwen_config()
    qwen.save_pretrained(tmp_path)
    assert read_model_shape(tmp_path) == ModelShape(qwen.hidden_size, qwen.max_images)


@pytest.mark.parametrize("written", ['{"model_type": "llama"}', "[]", "{"])
def test_another_configuration_is_refused(tmp_path: Path, written: str) -> None:
    (tmp_path / CONFIG_FILE).write_text(written)
    with pytest.raises(ValueError, match="not the configuration of a MoonModel"):
        read_model_shape(tmp_path)


def test_torch_is_not_needed() -> None:
    said = subprocess.run(
        [
            sys.executable, "-c",
            "import sys, json, moon_model.fingerprint, jobs.stages.runner; print(json.dumps([*sys.modules]))",
        ],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert not {"torch", "transformers"} & set(json.loads(said.stdout))
