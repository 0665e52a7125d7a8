"""Shared fixture: a tiny random model."""

import pytest

from moon_model.encoder import MoonEncoder
from tests.moon_model.training.tiny_run import save_tiny_model


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> MoonEncoder:
    """Reads bytes as tokens and views of 64 pixels; no detector."""
    folder = save_tiny_model(tmp_path_factory.mktemp("tiny"))
    return MoonEncoder.from_pretrained(folder, detector=False, dtype="float32", device="cpu")
