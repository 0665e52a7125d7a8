"""From RGB pictures to what a backbone's vision tower eats; a view is one original image or one crop."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from moon_model.backbones.qwen2_5_vl import build_image_processor
from moon_model.configuration_moon import CompactConfig, MoonConfig

Pixels = NDArray[np.uint8]
"""One prepared view, [H, W, 3]: bytes, not floats, because it may travel between processes."""

MAX_ASPECT = 100
"""A longer picture is padded on white up to this ratio of its sides; towers round thinner ones to nothing."""


class ViewProcessor(ABC):
    """How one backbone wants its views.

    Attributes:
        least_side: shorter side of a photo below which detail would be missed, see ``images.decode``; None:
            all there is.
    """

    least_side: int | None = None

    @abstractmethod
    def prepare(self, image: Image.Image) -> Pixels:
        """Resize one RGB picture to the pixels the tower will see; CPU work that a worker can do ahead."""

    @abstractmethod
    def tokens(self, pixels: Pixels) -> int:
        """How many visual tokens a prepared view takes in the decoder's input."""

    @abstractmethod
    def collate(self, views: Sequence[Pixels]) -> dict[str, torch.Tensor]:
        """Join the prepared views of a batch, in reading order, to the model's tensors; V ≥ 1."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What ``processor_config.json`` keeps of this object."""


class CompactViews(ViewProcessor):
    """Square views for EfficientNet-Lite0: float32 [V, 3, S, S], normalised as it was trained.

    Args:
        config: the backbone's shape.
        image_mean: subtracted from every channel's byte value.
        image_std: divides it afterwards.
        fit: ``pad`` keeps the shape of the product and fills up with white, ``squash`` uses all pixels. On
            grocery photos they measured the same (91.7% and 91.8% nearest neighbour).
    """

    def __init__(
        self, config: CompactConfig, image_mean: float = 127.0, image_std: float = 128.0, fit: str = "pad"
    ) -> None:
        if fit not in ("pad", "squash"):
            raise ValueError(f"fit must be pad or squash, not {fit!r}")
        self.size, self.image_mean, self.image_std, self.fit = config.image_size, image_mean, image_std, fit
        self._tokens = config.tokens_per_view
        self.least_side = 3 * config.image_size  # a crop of a third of the side still fills a view

    def prepare(self, image: Image.Image) -> Pixels:
        """[S, S, 3] bytes."""
        width, height = (self.size, self.size)
        if self.fit == "pad":
            scale = self.size / max(image.size)
            width, height = (max(round(side * scale), 1) for side in image.size)
        resized = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0)
        if resized.size == (self.size, self.size):
            return np.asarray(resized)
        square = Image.new("RGB", (self.size, self.size), "white")
        square.paste(resized, ((self.size - width) // 2, (self.size - height) // 2))
        return np.asarray(square)

    def tokens(self, pixels: Pixels) -> int:
        """The same for every view: ``tokens_per_view``."""
        return self._tokens

    def collate(self, views: Sequence[Pixels]) -> dict[str, torch.Tensor]:
        """``pixel_values`` float32 [V, 3, S, S]."""
        pixels = torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2)  # channels last in memory
        return {"pixel_values": (pixels.float() - self.image_mean) / self.image_std}

    def settings(self) -> dict[str, Any]:
        """Mean, standard deviation and fit."""
        return {"image_mean": self.image_mean, "image_std": self.image_std, "fit": self.fit}


class QwenViews(ViewProcessor):
    """Views of any size for Qwen2.5-VL, by transformers' own image processor.

    The resize happens in ``prepare``, the normalisation and cutting into patches in ``collate``: a prepared view
    is 8 times smaller than its patches.
    """

    def __init__(self, config: MoonConfig) -> None:
        self._processor = build_image_processor(config)
        self._factor = self._processor.patch_size * self._processor.merge_size

    def prepare(self, image: Image.Image) -> Pixels:
        """[H, W, 3] bytes, both sides multiples of patch · merge, min_pixels ≤ H · W ≤ max_pixels."""
        image, limits = _not_too_thin(image), self._processor.size
        height, width = smart_resize(
            image.height, image.width, self._factor, limits["shortest_edge"], limits["longest_edge"]
        )
        return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))

    def tokens(self, pixels: Pixels) -> int:
        """One token for each merged patch."""
        return int((pixels.shape[0] // self._factor) * (pixels.shape[1] // self._factor))

    def collate(self, views: Sequence[Pixels]) -> dict[str, torch.Tensor]:
        """``pixel_values`` float32 [patches, patch_dim] and ``image_grid_thw`` int64 [V, 3]."""
        images = [Image.fromarray(view) for view in views]
        return dict(self._processor(images=images, do_resize=False, return_tensors="pt"))

    def settings(self) -> dict[str, Any]:
        """Nothing: sizes lie in ``MoonConfig``."""
        return {}


def build_views(config: MoonConfig, settings: dict[str, Any] | None = None) -> ViewProcessor:
    """Choose by backbone; ``settings`` are those of ``processor_config.json``."""
    if config.backbone == "compact":
        assert isinstance(config.base_config, CompactConfig)  # noqa: S101  # what "compact" means
        return CompactViews(config.base_config, **(settings or {}))
    return QwenViews(config)


def _not_too_thin(image: Image.Image) -> Image.Image:
    width, height = image.size
    if max(width, height) <= MAX_ASPECT * min(width, height):
        return image
    least = math.ceil(max(width, height) / MAX_ASPECT)
    canvas = Image.new("RGB", (max(width, least), max(height, least)), "white")
    canvas.paste(image, ((canvas.width - width) // 2, (canvas.height - height) // 2))
    return canvas
