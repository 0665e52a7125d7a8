"""A small untrained detector, exported once to a real ONNX file for ONNX Runtime."""

from pathlib import Path

import pytest
import torch

from moon_model.detection.configuration import DetectorConfig
from recipes.detector.export import export_onnx
from recipes.detector.network import ProductNet

SMALL = 64


@pytest.fixture(scope="session")
def small_network() -> ProductNet:
    """Random weights; tests must not change it."""
    torch.manual_seed(0)
    network = ProductNet(width=16)
    with torch.no_grad():  # batch norms that are not the identity, so that folding them is tested
        for name, value in network.named_buffers():
            if name.endswith("running_mean"):
                value.normal_(0, 0.1)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 2.0)
    return network.eval()


@pytest.fixture(scope="session")
def small_detector_dir(small_network: ProductNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small network as a folder for ``ProductDetector``; its score threshold accepts every box."""
    folder = tmp_path_factory.mktemp("small-detector")
    config = DetectorConfig(input_size=SMALL, score_threshold=0.0)
    export_onnx(small_network, folder / config.weights, SMALL)
    config.write(folder)
    return folder
