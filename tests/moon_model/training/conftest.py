"""A tiny model with demo-world pairs for all tests of training."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with ``model``, ``images`` and ``pairs`` (32 pairs); tests must not change it."""
    from tests.moon_model.training.tiny_run import tiny_shop

    return tiny_shop(tmp_path_factory.mktemp("tiny-shop"))
