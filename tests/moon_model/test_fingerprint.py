"""A checkpoint's version follows its files; the shipped checkpoint keeps the version and the vectors of release 0.1."""

import json
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from PIL import Image

from moon_model import checkpoint_dir
from moon_model.configuration_moon import MoonConfig
from moon_model.detection.detector import compute_detector_version
from moon_model.detection.region import Region
from moon_model.encoder import MoonEncoder
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
from moon_model.product import Product

SHIPPED_MODEL_VERSION = "c1499726cf06af10863e7c469dca83c9756170922a459aafa1ca262d18464dd1"
SHIPPED_DETECTOR_VERSION = "ca79259376e0aa94"
GOLDEN_VECTORS = Path(__file__).parent / "golden_vectors.npy"
"""float32 [2, 576]: `BAG_TEXT` and `draw_bag` with `BAG_REGION`, encoded by release 0.1 in float32 on a CPU."""
GOLDEN_STARTS = [[-0.0319053, 0.01140047, -0.04047362, 0.01465299], [-0.06924888, 0.02419913, -0.020558, 0.00606257]]
BAG_REGION = Region((0.3, 0.45, 0.8, 0.75), 0.9)
BAG_TEXT = Product(
    "1", "Striped canvas bag", "Holds two bottles.", "Home/Bags/Totes",
    {"colour": ["red", "blue"], "material": "canvas"},
)  # fmt: skip

TINY = checkpoint_dir("moon-tiny")


def draw_bag() -> Image.Image:
    """A striped bag on light grey, made of rectangles, so that every version of Pillow draws the same pixels."""
    photo = Image.new("RGB", (300, 400), (226, 226, 224))
    photo.paste((150, 40, 60), (90, 180, 240, 300))
    for x in range(90, 240, 20):
        photo.paste((40, 60, 130), (x, 180, min(x + 8, 240), 300))
    return photo


def test_the_shipped_checkpoint_keeps_its_version() -> None:
    """Collections are found by the version: with another one every query is refused and every product encoded again."""
    assert compute_detector_version() == SHIPPED_DETECTOR_VERSION
    assert compute_model_version() == SHIPPED_MODEL_VERSION
    assert combine_version(None, SHIPPED_DETECTOR_VERSION) == SHIPPED_MODEL_VERSION


def test_the_shipped_checkpoint_keeps_its_vectors() -> None:
    golden = np.load(GOLDEN_VECTORS)
    assert np.allclose(golden[:, :4], GOLDEN_STARTS, atol=1e-7)
    encoder = MoonEncoder.from_pretrained(dtype="float32", device="cpu")
    assert encoder.model_version == SHIPPED_MODEL_VERSION
    prepared = [encoder.prepare(BAG_TEXT), encoder.prepare(Product("2", images=[draw_bag()]), [BAG_REGION])]
    vectors = encoder.encode_prepared(prepared)
    assert (vectors.shape, vectors.dtype) == ((2, 576), np.float32)
    cosines = (vectors * golden).sum(1) / (np.linalg.norm(vectors, axis=1) * np.linalg.norm(golden, axis=1))
    assert cosines.min() > 0.99999
    assert np.abs(vectors - golden).max() < 1e-4
    assert encoder.detector is not None
    (region,) = encoder.detector.detect([draw_bag()])
    assert region.box == pytest.approx((0.2958, 0.4243, 0.8009, 0.7527), abs=0.005)


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
    printed = subprocess.run(
        [
            sys.executable, "-c",
            "import sys, json, moon_model.fingerprint, jobs.stages.runner; print(json.dumps([*sys.modules]))",
        ],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert not {"torch", "transformers"} & set(json.loads(printed.stdout))
