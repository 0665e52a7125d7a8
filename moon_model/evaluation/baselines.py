"""What MOON has to beat: the frozen parts alone, joined, word counts with colour histograms, and chance."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from moon_model.backbones.compact import LITE0_FEATURES, CompactBackbone
from moon_model.encoder import MoonEncoder
from moon_model.evaluation.metrics import Floats
from moon_model.evaluation.tasks import Products
from moon_model.images import BadImageError, decode_image
from moon_model.product import Product, join_text

log = logging.getLogger(__name__)

HUE_BINS, SATURATION_BINS, VALUE_BINS = 12, 4, 4
IMAGE_SIDE = 256
WORD_PATTERN = r"(?u)\b\w+\b"
"""One letter is a word too: sizes are."""


class Embedder(Protocol):
    """Anything that turns products into vectors of one space.

    Attributes:
        name: its column in the report.
    """

    name: str

    def embed(self, products: Products, texts: Products) -> Floats:
        """Return L2-normalised vectors [N, D], zeros where nothing can be said.

        Args:
            products: to embed.
            texts: products whose words may be counted beforehand: the items of the task, never its queries' answers.
        """
        ...


class MoonEmbedder:
    """The model itself."""

    def __init__(self, encoder: MoonEncoder, name: str = "MOON") -> None:
        self.encoder, self.name = encoder, name

    def embed(self, products: Products, texts: Products) -> Floats:
        """See `Embedder`; a product of which nothing is left to encode gets zeros."""
        usable = [index for index, one in enumerate(products) if one.images or join_text(one)]
        vectors = np.zeros((len(products), self.encoder.dim), dtype=np.float32)
        if usable:
            vectors[usable] = self.encoder.encode([products[index] for index in usable])
        return vectors


class FrozenVision:
    """The vision tower of a compact model alone: mean of the grid, mean over the images."""

    name = "EfficientNet-Lite0"

    def __init__(self, encoder: MoonEncoder) -> None:
        if not isinstance(encoder.model.backbone, CompactBackbone):
            raise ValueError("only a compact model has an EfficientNet-Lite0 to compare with")
        self.tower, self.views = encoder.model.backbone.vision.trunk, encoder.processor.views

    @torch.inference_mode()
    def embed(self, products: Products, texts: Products) -> Floats:
        """See `Embedder`."""

        def vector(product: Product) -> Floats | None:
            images = [self.views.prepare(image) for image in _images(product)]
            if not images:
                return None
            grid = self.tower(self.views.collate(images)["pixel_values"]).float()
            return F.normalize(grid.mean((2, 3)), dim=-1).mean(0).numpy()

        return _rows(map(vector, products), LITE0_FEATURES)


class TextTeacher:
    """all-MiniLM-L6-v2 on all texts of a product."""

    name = "all-MiniLM-L6-v2"

    def __init__(self, folder: Path) -> None:
        from moon_model.evaluation.minilm import MiniLM  # noqa: PLC0415  # one baseline's own needs

        self.model = MiniLM(folder)

    def embed(self, products: Products, texts: Products) -> Floats:
        """See `Embedder`."""
        said = [index for index, one in enumerate(products) if join_text(one)]
        vectors = np.zeros((len(products), 384), dtype=np.float32)
        if said:
            vectors[said] = self.model.encode([join_text(products[index]) for index in said])
        return vectors


class ConcatenatedEmbedder:
    """Two embedders side by side, each of weight one half."""

    def __init__(self, first: Embedder, second: Embedder) -> None:
        self.parts = (first, second)
        self.name = f"{first.name} + {second.name}"

    def embed(self, products: Products, texts: Products) -> Floats:
        """See `Embedder`."""
        return _normalised(np.concatenate([part.embed(products, texts) for part in self.parts], axis=1))


class WordsAndColours:
    """TF-IDF of all texts beside a colour histogram of all images."""

    name = "TF-IDF + colours"

    def embed(self, products: Products, texts: Products) -> Floats:
        """See `Embedder`."""
        from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415  # seconds, only here

        counted = TfidfVectorizer(sublinear_tf=True, token_pattern=WORD_PATTERN).fit(
            [join_text(one) for one in texts] + ["empty"]
        )
        words = counted.transform([join_text(one) for one in products]).toarray().astype(np.float32)
        return _normalised(
            np.concatenate([words, _rows(map(_colours, products), HUE_BINS * SATURATION_BINS * VALUE_BINS)], axis=1)
        )


class RandomEmbedder:
    """Random vectors."""

    name = "chance"

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def embed(self, products: Products, texts: Products) -> Floats:
        """See `Embedder`."""
        return _normalised(self.random.normal(size=(len(products), 64)).astype(np.float32))


def _images(product: Product) -> list[Image.Image]:
    images = []
    for source in product.images:
        try:
            images.append(decode_image(source, min_side=IMAGE_SIDE))
        except BadImageError as error:
            log.warning("%s: an image is left out (%s)", product.id, error)
    return images


def _colours(product: Product) -> Floats | None:
    histograms = []
    for image in _images(product):
        pixels = np.asarray(image.convert("HSV").resize((64, 64))).reshape(-1, 3)
        counts, _ = np.histogramdd(pixels, bins=(HUE_BINS, SATURATION_BINS, VALUE_BINS), range=[(0, 256)] * 3)
        histograms.append(np.sqrt(counts.ravel() / counts.sum()))
    return np.mean(histograms, axis=0).astype(np.float32) if histograms else None


def _rows(vectors: Iterable[Floats | None], dimension: int) -> Floats:
    return _normalised(np.stack([np.zeros(dimension, np.float32) if row is None else row for row in vectors]))


def _normalised(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def build_baselines(encoder: MoonEncoder, minilm: Path | None, seed: int) -> list[Embedder]:
    """Return the baselines that can be had: all of them where all-MiniLM-L6-v2's folder is given."""
    parts: list[Embedder] = []
    if isinstance(encoder.model.backbone, CompactBackbone):
        parts.append(FrozenVision(encoder))
    if minilm is not None:
        parts.append(TextTeacher(minilm))
    joined: Sequence[Embedder] = [ConcatenatedEmbedder(*parts)] if len(parts) == 2 else []
    return [*parts, *joined, WordsAndColours(), RandomEmbedder(seed)]
