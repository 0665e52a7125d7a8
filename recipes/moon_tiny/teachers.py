"""The first stage of the compact model: frozen teachers lend what they know before purchases are contrasted.

A small model that sees purchases of one shop only forgets what its parts knew. So its texts are led to the vectors of
all-MiniLM-L6-v2, its photos and products to those of both teachers (``anchors.py``), and photos meet the texts that
describe them. The same losses, weighted, hold the model together in the second stage. Ours, not the paper's.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moon_model.processing_moon import PreparedProduct
from moon_model.product import Product
from moon_model.training.config import ConfigError, TeacherSection
from moon_model.training.examples import Examples
from moon_model.training.feature_cache import FeatureCache
from moon_model.training.loss import Candidates, ContrastiveLoss
from moon_model.training.objective import Objective, StepInput
from moon_model.training.pairs import TrainingItem, parse_item
from moon_model.training.trainable_model import TrainableModel
from recipes.moon_tiny.distillation_targets import (
    VisualBasis,
    build_product_targets,
    build_text_targets,
    check_target_dimensions,
    compute_distillation_loss,
    summarise_grids,
)
from recipes.moon_tiny.labels import LabelTextObjective, read_facets

CORPORA_ABOUT_FILE, TEXTS_FILE, TEXT_VECTORS_FILE = "about.json", "texts.jsonl", "texts.npy"
PHOTOS_FILE, CAPTION_VECTORS_FILE = "photos.jsonl", "said.npy"

NEIGHBOUR_RUN = 4
"""Neighbouring rows drawn together: corpora lie in order of what they are about, so a batch has near neighbours too."""

NO_TEXT_PROB = 0.5
"""Of the photos of a step that come without the words said of them."""
RANDOM_TEXT_PROB = 0.3
"""Of the photos of a step that come with any text of the corpora: words go before what a picture suggests."""


@dataclass(frozen=True)
class CaptionedPhoto:
    """A photo and what is said of it.

    Attributes:
        item: the photo alone; photos of one identity show the same thing to a customer.
        texts: products without images.
        vectors: the text teacher's of ``texts``, float16 [T, 384].
        drawn: by us, of the demo world, and no camera's.
    """

    item: TrainingItem
    texts: Sequence[Product]
    vectors: NDArray[np.float16]
    drawn: bool = False


@dataclass(frozen=True)
class Corpora:
    """What teachers teach on, as ``recipes.moon_tiny.corpora`` writes it.

    Attributes:
        texts: N products without images, related ones side by side.
        vectors: the text teacher's embeddings float16 [N, 384], L2-normalised.
        photos: with what is said of them.
        image_roots: folders that the photos lie in.
    """

    texts: Sequence[Product]
    vectors: NDArray[np.float16]
    photos: Sequence[CaptionedPhoto]
    image_roots: Sequence[Path]

    @classmethod
    def read(cls, folder: Path) -> "Corpora":
        """Read a folder of corpora.

        Raises:
            ConfigError: it is missing or incomplete.
        """
        try:
            about = json.loads((folder / CORPORA_ABOUT_FILE).read_text())
            texts = [_words(json.loads(line)) for line in (folder / TEXTS_FILE).read_text("utf-8").splitlines()]
            vectors, said = (
                np.load(folder / name, allow_pickle=False) for name in (TEXT_VECTORS_FILE, CAPTION_VECTORS_FILE)
            )
            photos = list(_photos(folder / PHOTOS_FILE, said))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"teachers.corpora: {folder} holds no corpora ({error}); `python -m recipes.moon_tiny.corpora "
                f"--out {folder}` makes them"
            ) from error
        if len(texts) != len(vectors):
            raise ConfigError(f"teachers.corpora: {folder} has {len(texts)} texts, but {len(vectors)} vectors")
        return cls(texts, vectors, photos, [Path(root) for root in about["image_roots"]])

    @cached_property
    def _by_origin(self) -> tuple[list[CaptionedPhoto], list[CaptionedPhoto]]:
        """Real photos and drawn ones, told apart once and not every step."""
        return [one for one in self.photos if not one.drawn], [one for one in self.photos if one.drawn]

    def draw_photos(self, count: int, rng: np.random.Generator) -> list[CaptionedPhoto]:
        """Draw different photos, half of them real: however many are drawn by us, the world must not look like them."""
        real, drawn = self._by_origin
        of_real = min(len(real), max(count // 2, count - len(drawn)))
        shares = ((real, of_real), (drawn, count - of_real))
        return [photos[row] for photos, share in shares for row in draw_rows(len(photos), share, rng)]


class TextDistillation(Objective):
    """Texts reach the vectors that the text teacher gave them."""

    name = "text_anchors"

    def __init__(
        self, corpora: Corpora, examples: Examples, settings: TeacherSection, *, dimension: int, seed: int
    ) -> None:
        super().__init__()
        self.corpora, self.examples, self.settings, self.seed = corpora, examples, settings, seed
        self.weight, self.dimension = settings.anchor_weight, dimension
        self._prepared: dict[int, PreparedProduct] = {}

    def work(self, step: int) -> StepInput:
        """Draw texts."""
        rows = draw_rows(len(self.corpora.texts), self.settings.texts, np.random.default_rng((self.seed, step, 0)))
        anchors = build_text_targets(self.corpora.vectors[rows], self.dimension)
        return StepInput([self._text(int(row)) for row in rows], partial(compute_distillation_loss, anchors))

    def _text(self, row: int) -> PreparedProduct:
        """A text as token ids, cut up once."""
        if row not in self._prepared:
            text = replace(self.corpora.texts[row], id=f"text {row}")
            self._prepared[row] = self.examples.prepare_one(TrainingItem(row, text))
        return self._prepared[row]


class PhotoDistillation(Objective):
    """Photos, most of them without a word, reach the vectors that both teachers give them."""

    name = "photo_anchors"

    def __init__(
        self,
        corpora: Corpora,
        examples: Examples,
        cache: FeatureCache,
        settings: TeacherSection,
        basis: VisualBasis,
        *,
        dimension: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.corpora, self.examples, self.cache, self.basis = corpora, examples, cache, basis
        self.settings, self.seed = settings, seed
        self.weight, self.dimension = settings.anchor_weight, dimension

    def work(self, step: int) -> StepInput:
        """Draw photos, and for each one of the texts said of it, of any text at all, or none."""
        rng = np.random.default_rng((self.seed, step, 1))
        items, words = [], []
        for photo in self.corpora.draw_photos(self.settings.images, rng):
            told, vector = self._words(photo, rng)
            shown = replace(told, id=photo.item.product.id, images=photo.item.product.images)
            items.append(replace(photo.item, product=shown))
            words.append(vector)
        prepared = self.examples.prepare(items)
        return StepInput(prepared, partial(self._loss, prepared, torch.from_numpy(np.stack(words)).float()))

    def _words(self, photo: CaptionedPhoto, rng: np.random.Generator) -> tuple[Product, NDArray[np.float16]]:
        """What comes with a photo, and the text vector that belongs into its anchor."""
        kind = rng.random()
        if kind < RANDOM_TEXT_PROB:
            row = int(rng.integers(len(self.corpora.texts)))
            return self.corpora.texts[row], self.corpora.vectors[row]
        place = int(rng.integers(len(photo.texts)))
        told = Product("") if kind < RANDOM_TEXT_PROB + NO_TEXT_PROB else photo.texts[place]
        return told, photo.vectors[place]

    def _loss(
        self, prepared: Sequence[PreparedProduct], words: Tensor, embeddings: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        seen = self.basis.vectors(torch.stack([summarise_grids(self.cache.features(one.views)) for one in prepared]))
        return compute_distillation_loss(build_product_targets(words, seen, self.dimension), embeddings)


class PhotoTextAlignment(Objective):
    """A photo and a text that describes it meet, in both directions."""

    name = "alignment"

    def __init__(self, corpora: Corpora, examples: Examples, settings: TeacherSection, seed: int) -> None:
        super().__init__()
        self.corpora, self.examples, self.settings, self.seed = corpora, examples, settings, seed
        self.weight = settings.weight
        self.contrast = ContrastiveLoss(settings.temperature, margin=None)

    def work(self, step: int) -> StepInput:
        """Draw photos, and for each one of its texts."""
        rng = np.random.default_rng((self.seed, step, 2))
        photos, texts = [], []
        for photo in self.corpora.draw_photos(self.settings.aligned, rng):
            said = photo.texts[int(rng.integers(len(photo.texts)))]
            photos.append(photo.item)
            texts.append(TrainingItem(photo.item.identity, replace(said, id=f"text of {photo.item.product.id}")))
        ids = torch.tensor([photo.identity for photo in photos])
        return StepInput(self.examples.prepare([*photos, *texts]), partial(self._loss, ids))

    def _loss(self, ids: Tensor, embeddings: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        ids = ids.to(embeddings.device)
        photos, texts = (Candidates(half, ids) for half in embeddings.chunk(2))
        there = self.contrast(photos.embeddings, texts, texts)
        back = self.contrast(texts.embeddings, photos, photos)
        return (there.loss + back.loss) / 2, {"accuracy": (there.accuracy + back.accuracy) / 2}


def build_teacher_objectives(
    settings: TeacherSection,
    trainable_model: TrainableModel,
    cache: FeatureCache | None,
    *,
    seed: int,
    pool: Executor | None = None,
    keep_photos: int = 0,
) -> list[Objective]:
    """Make the objectives that a ``[teachers]`` table asks for.

    Args:
        settings: the table.
        trainable_model: model and processor.
        cache: of the frozen tower's features.
        seed: of what is drawn.
        pool, keep_photos: see ``Examples``.

    Raises:
        ConfigError: no corpora, corpora smaller than a batch, photos without ``model.cache``, or a model too narrow.
    """
    corpora = Corpora.read(settings.corpora)
    for name, wanted, there in (
        ("texts", settings.texts, len(corpora.texts)),
        ("images", settings.images, len(corpora.photos)),
        ("aligned", settings.aligned, len(corpora.photos)),
    ):
        if wanted > there:
            raise ConfigError(f"teachers.{name} is {wanted}, but the corpora hold {there}")
    examples = Examples(trainable_model.processor, corpora.image_roots, pool=pool, keep_photos=keep_photos)
    dimension, width = trainable_model.model.config.hidden_size, corpora.vectors.shape[1]
    check_target_dimensions(dimension, [width])
    objectives: list[Objective] = []
    if settings.texts:
        objectives.append(TextDistillation(corpora, examples, settings, dimension=dimension, seed=seed))
    if settings.images:
        if cache is None:
            raise ConfigError(
                "teachers.images needs the frozen tower as teacher: set model.cache, or teachers.images = 0"
            )
        basis = VisualBasis.read(settings.corpora)
        check_target_dimensions(dimension, [width, basis.axes.shape[1]])
        objectives.append(PhotoDistillation(corpora, examples, cache, settings, basis, dimension=dimension, seed=seed))
    if settings.aligned:
        objectives.append(PhotoTextAlignment(corpora, examples, settings, seed))
    if settings.labelled:
        objectives.append(LabelTextObjective(read_facets(settings.corpora), examples, settings, seed))
    return objectives


def draw_rows(total: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw different rows in runs of ``NEIGHBOUR_RUN`` neighbours: int64 [count] of 0 … total - 1."""
    runs = rng.permutation(-(-total // NEIGHBOUR_RUN))
    rows = (runs[:, None] * NEIGHBOUR_RUN + np.arange(NEIGHBOUR_RUN)).ravel()
    return rows[rows < total][:count].astype(np.int64)


def _photos(path: Path, said: NDArray[np.float16]) -> Iterator[CaptionedPhoto]:
    """Lines of photos.jsonl, {"identity", "image", "region", "texts", "drawn"}, each with its rows of ``said``."""
    place = 0
    for line in path.read_text("utf-8").splitlines():
        stored = json.loads(line)
        product = {"id": stored["image"], "images": [stored["image"]], "regions": [stored.get("region")]}
        texts = [_words(one) for one in stored["texts"]]
        vectors = said[place : place + len(texts)]
        if len(vectors) != len(texts):
            raise ValueError(f"{path.name} says more than {CAPTION_VECTORS_FILE} has vectors of")
        yield CaptionedPhoto(parse_item(int(stored["identity"]), product), texts, vectors, bool(stored.get("drawn")))
        place += len(texts)


def _words(stored: Mapping[str, Any]) -> Product:
    return Product("", **stored)
