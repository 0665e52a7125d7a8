"""Fixtures of the library's tests that the recipes' tests use too."""

from tests.moon_model.conftest import tiny_qwen_config
from tests.moon_model.detection.conftest import small_detector_dir, small_network
from tests.moon_model.training.conftest import shop

__all__ = ["shop", "small_detector_dir", "small_network", "tiny_qwen_config"]
