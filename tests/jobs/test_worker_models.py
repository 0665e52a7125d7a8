import pytest
import torch

from jobs.model_choice import checkpoint_at
from jobs.worker_models import (
    CUDA_PREPARERS,
    REMOTE_PREPARERS,
    ModelChangedError,
    checked_detector,
    load_encoder,
    preparers,
    task_device,
)
from moon_model.detection.detector import detector_version


def test_an_encoder_is_loaded_once_with_the_planned_detector(tiny_checkpoint):
    version = checkpoint_at(str(tiny_checkpoint)).model_version
    encoder = load_encoder(str(tiny_checkpoint), None, version, "cpu")
    assert load_encoder(str(tiny_checkpoint), None, version, "cpu") is encoder
    assert encoder.model_version == version
    assert encoder.detector is checked_detector(None, detector_version(), "cpu")
    assert torch.get_num_threads() == 1


def test_other_files_than_planned_are_refused(tiny_checkpoint):
    with pytest.raises(ModelChangedError, match="ship the same files to every worker"):
        load_encoder(str(tiny_checkpoint), None, "0" * 64, "cpu")
    with pytest.raises(ModelChangedError, match="detector of the repository"):
        checked_detector(None, "0" * 16, "cpu")


def test_device_outside_of_a_task():
    assert task_device() == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    ("device", "roots", "threads"),
    [
        ("cpu", ("file:///images",), 0),
        ("cpu", ("file:///images", "s3://bucket/images"), REMOTE_PREPARERS),
        ("cuda", ("file:///images",), CUDA_PREPARERS),
        ("cuda:1", ("s3://bucket/images",), CUDA_PREPARERS),
    ],
)
def test_preparers(device, roots, threads):
    assert preparers(device, roots) == threads
