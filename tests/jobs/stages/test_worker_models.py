from types import SimpleNamespace

import pytest
import torch
from pyspark import TaskContext
from pyspark.resource import ResourceInformation

from jobs.settings import REPOSITORY
from jobs.stages.worker_models import (
    CUDA_LOADER_THREADS,
    REMOTE_LOADER_THREADS,
    ModelChangedError,
    load_checked_detector,
    load_encoder,
    loader_threads,
    task_device,
    worker_path,
)
from jobs.state.model_registry import describe_checkpoint
from moon_model.detection.detector import compute_detector_version


def test_an_encoder_is_loaded_once_with_the_planned_detector(tiny_checkpoint):
    version = describe_checkpoint(str(tiny_checkpoint)).model_version
    encoder = load_encoder(str(tiny_checkpoint), None, version, "cpu")
    assert load_encoder(str(tiny_checkpoint), None, version, "cpu") is encoder
    assert encoder.model_version == version
    assert encoder.detector is load_checked_detector(None, compute_detector_version(), "cpu")
    assert torch.get_num_threads() == 1


def test_other_files_than_planned_are_refused(tiny_checkpoint):
    with pytest.raises(ModelChangedError, match="ship the same files to every worker"):
        load_encoder(str(tiny_checkpoint), None, "0" * 64, "cpu")
    with pytest.raises(ModelChangedError, match="detector of the repository"):
        load_checked_detector(None, "0" * 16, "cpu")


def test_device_outside_of_a_task():
    assert task_device() == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    ("address", "visible", "device"),
    [("0", 1, "cuda:0"), ("7", 8, "cuda:7"), ("8", 8, "cpu"), ("GPU-1", 8, "cpu"), ("0", 0, "cpu")],
)
def test_the_gpu_that_spark_gave_is_taken_or_its_lack_is_told(monkeypatch, caplog, address, visible, device):
    task = SimpleNamespace(resources=lambda: {"gpu": ResourceInformation("gpu", [address])})
    monkeypatch.setattr(TaskContext, "get", lambda: task)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: visible > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    assert task_device() == device
    assert (f"Spark gave this task GPU {address}, of which torch" in caplog.text) == (device == "cpu")


def test_models_of_the_repository_are_named_relative_to_it(tiny_checkpoint):
    assert worker_path(str(REPOSITORY / "checkpoints/moon-tiny")) == "checkpoints/moon-tiny"
    assert worker_path(str(tiny_checkpoint)) == str(tiny_checkpoint)


@pytest.mark.parametrize(
    ("device", "roots", "threads"),
    [
        ("cpu", ("file:///images",), 0),
        ("cpu", ("file:///images", "s3://bucket/images"), REMOTE_LOADER_THREADS),
        ("cuda", ("file:///images",), CUDA_LOADER_THREADS),
        ("cuda:1", ("s3://bucket/images",), CUDA_LOADER_THREADS),
    ],
)
def test_preparers(device, roots, threads):
    assert loader_threads(device, roots) == threads
