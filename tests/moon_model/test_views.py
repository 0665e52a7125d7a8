"""Pixels for both backbones."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Qwen2VLImageProcessorPil

from moon_model.configuration_moon import MoonConfig
from moon_model.views import CompactViews, QwenViews, build_views

Factory = Callable[..., MoonConfig]


def photo(width: int, height: int, colour: str = "red") -> Image.Image:
    return Image.new("RGB", (width, height), colour)


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(64, 64), (640, 320), (1, 1), (1, 2000), (3000, 5)])
def test_compact_views_are_square_bytes(tiny_compact_config: Factory, size: tuple[int, int]) -> None:
    views = CompactViews(tiny_compact_config().base_config)
    pixels = views.prepare(photo(*size))
    assert (pixels.shape, pixels.dtype) == ((64, 64, 3), np.uint8)
    assert (pixels[31:33, 31:33] == (255, 0, 0)).all(-1).any()


def test_pad_keeps_the_shape_and_squash_does_not(tiny_compact_config: Factory) -> None:
    base = tiny_compact_config().base_config
    padded, squashed = (CompactViews(base, fit=fit).prepare(photo(200, 100)) for fit in ("pad", "squash"))
    red = (np.asarray(padded) == (255, 0, 0)).all(-1)
    assert red.any(1).sum() == 32
    assert red.any(0).sum() == 64
    assert (padded[0] == 255).all()
    assert (np.asarray(squashed) == (255, 0, 0)).all()
    with pytest.raises(ValueError, match="pad or squash"):
        CompactViews(base, fit="stretch")


def test_compact_pixels_are_normalised_as_trained(tiny_compact_config: Factory) -> None:
    views = CompactViews(tiny_compact_config().base_config)
    image = noise(64, 64)
    batch = views.collate([views.prepare(image), views.prepare(photo(64, 64))])["pixel_values"]
    assert (batch.shape, batch.dtype) == ((2, 3, 64, 64), torch.float32)
    expected = (np.asarray(image, dtype=np.float32).transpose(2, 0, 1) - 127) / 128
    assert np.array_equal(batch[0].numpy(), expected)


def test_compact_tokens(tiny_compact_config: Factory) -> None:
    views = build_views(tiny_compact_config())
    assert views.count_tokens(views.prepare(photo(10, 10))) == 4


@pytest.mark.parametrize("size", [(300, 200), (28, 28), (1, 1), (2000, 1000)])
def test_qwen_views_equal_transformers_own_processing(tiny_qwen_config: Factory, size: tuple[int, int]) -> None:
    config = tiny_qwen_config(min_pixels=56 * 56, max_pixels=112 * 112)
    views, image = QwenViews(config), noise(*size)
    pixels = views.prepare(image)
    batch = views.collate([pixels])
    limits = {"shortest_edge": 56 * 56, "longest_edge": 112 * 112}
    expected = Qwen2VLImageProcessorPil(size=limits)(images=[image], return_tensors="pt")
    assert torch.equal(batch["image_grid_thw"], expected["image_grid_thw"])
    assert torch.allclose(batch["pixel_values"], expected["pixel_values"], atol=1e-5)
    assert views.count_tokens(pixels) == int(batch["image_grid_thw"].prod()) // 4


def test_qwen_takes_the_thinnest_picture(tiny_qwen_config: Factory) -> None:
    pixels = QwenViews(tiny_qwen_config()).prepare(photo(1, 3000))
    assert pixels.shape[0] % 28 == pixels.shape[1] % 28 == 0


def test_settings_rebuild_the_same_views(tiny_compact_config: Factory) -> None:
    config = tiny_compact_config()
    views = CompactViews(config.base_config, image_mean=100.0, image_std=50.0, fit="squash")
    again = build_views(config, views.get_settings())
    assert again.get_settings() == views.get_settings() == {"image_mean": 100.0, "image_std": 50.0, "fit": "squash"}
