"""Baselines: the frozen encoders, alone and concatenated; TF-IDF with colour histograms; and random vectors."""

import logging
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from sklearn.feature_extraction.text import TfidfVectorizer
from torch.nn import functional as F

from moon_model.backbones.compact import LITE0_FEATURES, CompactBackbone
from moon_model.encoder import MoonEncoder
from moon_model.evaluation.metrics import Floats
from moon_model.evaluation.minilm import MINILM_DIMENSION, MiniLM
from moon_model.evaluation.tasks import Products
from moon_model.images import BadImageError, decode_image
from moon_model.product import Product, join_text

log = logging.getLogger(__name__)

COLOUR_BINS = (12, 4, 4)
"""Bins of hue, saturation and value in a colour histogram."""

IMAGE_SIDE = 256
WORD_PATTERN = r"(?u)\b\w+\b"
"""Unlike scikit-learn's default it includes words of one letter, such as sizes."""


class Embedder(Protocol):
    """Embeds products into one vector space.

    Attributes:
        name: column heading in the report.
    """

    name: str

    def embed(self, products: Products, texts: Products) -> Floats:
        """Return L2-normalised vectors [N, D]; zeros for a product without the fields that the embedder reads.

        Args:
            products: the N products.
            texts: products whose word frequencies may be counted (the items of the task).
        """


class MoonEmbedder:
    """The model under test."""

    def __init__(self, encoder: MoonEncoder, name: str = "MOON") -> None:
        self.encoder = encoder
        self.name = name

    def embed(self, products: Products, texts: Products) -> Floats:
        """See `Embedder`."""
        usable = [index for index, one in enumerate(products) if one.images or join_text(one)]
        vectors = np.zeros((len(products), self.encoder.dim), dtype=np.float32)
        if usable:
            vectors[usable] = self.encoder.encode([products[index] for index in usable])
        return vectors


class FrozenVision:
    """The frozen vision tower of a compact model: mean over the grid, then over the images.

    Raises:
        ValueError: the model has another backbone.
    """

    name = "EfficientNet-Lite0"

    def __init__(self, encoder: MoonEncoder) -> None:
        if not isinstance(encoder.model.backbone, CompactBackbone):
            raise ValueError("only a compact model has an EfficientNet-Lite0 to compare with")
        self.tower = encoder.model.backbone.vision.trunk
        self.views = encoder.processor.views

    @torch.inference_mode()
    def embed(self, products: Products, texts: Products) -> Floats:
        """See `Embedder`."""

        def embed_images(product: Product) -> Floats | None:
            images = [self.views.prepare(image) for image in _decode_images(product)]
            if not images:
                return None
            grid = self.tower(self.views.collate(images)["pixel_values"]).float()
            return F.normalize(grid.mean((2, 3)), dim=-1).mean(0).numpy()

        return _stack_rows(map(embed_images, products), LITE0_FEATURES)


class TextTeacher:
    """all-MiniLM-L6-v2 on all texts of a product.

    Args:
        folder: folder of the model.

    Raises:
        FileNotFoundError: the folder holds no model.
    """

    name = "all-MiniLM-L6-v2"

    def __init__(self, folder: Path) -> None:
        self.model = MiniLM(folder)

    def embed(self, products: Products, texts: Products) -> Floats:
        """See `Embedder`."""
        texts_by_row = {row: text for row, one in enumerate(products) if (text := join_text(one))}
        vectors = np.zeros((len(products), MINILM_DIMENSION), dtype=np.float32)
        if texts_by_row:
            vectors[list(texts_by_row)] = self.model.encode(list(texts_by_row.values()))
        return vectors


class ConcatenatedEmbedder:
    """The concatenated vectors of two embedders, each with weight one half."""

    def __init__(self, first: Embedder, second: Embedder) -> None:
        self.parts = (first, second)
        self.name = f"{first.name} + {second.name}"

    def embed(self, products: Products, texts: Products) -> Floats:
        """See `Embedder`."""
        return _normalise(np.concatenate([part.embed(products, texts) for part in self.parts], axis=1))


class WordsAndColours:
    """TF-IDF of all texts, concatenated with the mean colour histogram of all images."""

    name = "TF-IDF + colours"

    def embed(self, products: Products, texts: Products) -> Floats:
        """See `Embedder`."""
        vectorizer = TfidfVectorizer(sublinear_tf=True, token_pattern=WORD_PATTERN).fit(
            [join_text(one) for one in texts] + ["empty"]  # an empty vocabulary is an error
        )
        words = vectorizer.transform([join_text(one) for one in products]).toarray().astype(np.float32)
        colours = _stack_rows(map(_count_colours, products), math.prod(COLOUR_BINS))
        return _normalise(np.concatenate([words, colours], axis=1))


class RandomEmbedder:
    """Random vectors of dimension 64.

    Args:
        seed: seed of the generator.
    """

    name = "chance"

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def embed(self, products: Products, texts: Products) -> Floats:
        """See `Embedder`."""
        return _normalise(self.random.normal(size=(len(products), 64)).astype(np.float32))


def _decode_images(product: Product) -> list[Image.Image]:
    """Return the images of a product; one that cannot be read is left out with a warning."""
    images = []
    for source in product.images:
        try:
            images.append(decode_image(source, min_side=IMAGE_SIDE))
        except BadImageError as error:
            log.warning("product %s: an image is left out of the baselines (%s)", product.id, error)
    return images


def _count_colours(product: Product) -> Floats | None:
    """Return the mean colour histogram of a product's images (square roots of shares); None without an image."""
    histograms = []
    for image in _decode_images(product):
        pixels = np.asarray(image.convert("HSV").resize((64, 64))).reshape(-1, 3)
        counts, _ = np.histogramdd(pixels, bins=COLOUR_BINS, range=[(0, 256)] * 3)
        histograms.append(np.sqrt(counts.ravel() / counts.sum()))
    return np.mean(histograms, axis=0).astype(np.float32) if histograms else None


def _stack_rows(vectors: Iterable[Floats | None], dimension: int) -> Floats:
    """Return normalised vectors [N, D], zeros for None."""
    return _normalise(np.stack([np.zeros(dimension, np.float32) if row is None else row for row in vectors]))


def _normalise(vectors: Floats) -> Floats:
    """Return the rows scaled to length 1; a row of zeros stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def build_baselines(encoder: MoonEncoder, minilm: Path | None, seed: int) -> list[Embedder]:
    """Return the baselines of a model.

    Args:
        encoder: the model; `FrozenVision` needs a compact one.
        minilm: folder of all-MiniLM-L6-v2; None: without the baselines that use it.
        seed: seed of the random vectors.
    """
    parts: list[Embedder] = [FrozenVision(encoder)] if isinstance(encoder.model.backbone, CompactBackbone) else []
    if minilm is not None:
        parts.append(TextTeacher(minilm))
    joined: Sequence[Embedder] = [ConcatenatedEmbedder(*parts)] if len(parts) == 2 else []
    return [*parts, *joined, WordsAndColours(), RandomEmbedder(seed)]
