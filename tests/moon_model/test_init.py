"""Tests that ``import moon_model`` is fast, has its two names, and finds checkpoints in three places."""

import subprocess
import sys
from pathlib import Path

import pytest

import moon_model
from moon_model import checkpoint_dir

REPOSITORY = Path(__file__).resolve().parents[2]


def test_importing_the_package_loads_neither_torch_nor_transformers() -> None:
    code = "import sys, moon_model; print({'torch', 'transformers', 'numpy'} & set(sys.modules))"
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY
    ).stdout
    assert shown.strip() == "set()"


def test_encoder_and_detector_are_names_of_the_package() -> None:
    from moon_model import MoonEncoder, ProductDetector
    from moon_model.detection.detector import ProductDetector as Detector
    from moon_model.encoder import MoonEncoder as Encoder

    assert (MoonEncoder, ProductDetector) == (Encoder, Detector)
    with pytest.raises(AttributeError, match="no attribute 'Encoder'"):
        moon_model.Encoder  # noqa: B018


def test_checkpoints_are_those_of_the_checkout_unless_another_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checkpoint_dir("moon-tiny") == REPOSITORY / "checkpoints" / "moon-tiny"
    monkeypatch.setenv("MOON_CHECKPOINTS", str(tmp_path / "a [b]"))
    assert checkpoint_dir("moon-tiny") == tmp_path / "a [b]" / "moon-tiny"
