"""The distillation objectives: texts and photos are trained towards the teachers' vectors, photos towards captions.

Stage 1: distil two frozen teachers (text and image) before contrastive training on purchases. A small model that is
trained only on one shop's purchases loses the knowledge of its pretrained parts. With lower weights the same losses
regularise the later stages. The method is ours, not the paper's (docs/decisions/0025-distillation-targets.md).
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
from moon_model.training.config import ConfigError
from moon_model.training.examples import Examples
from moon_model.training.feature_cache import FeatureCache
from moon_model.training.loss import Candidates, ContrastiveLoss
from moon_model.training.objective import Objective, StepInput
from moon_model.training.pairs import TrainingItem, parse_item
from moon_model.training.trainable_model import TrainableModel
from recipes.moon_tiny.config import TeacherSection
from recipes.moon_tiny.distillation_targets import (
    VisualBasis,
    build_product_targets,
    build_text_targets,
    check_target_dimensions,
    compute_distillation_loss,
    summarise_grids,
)
from recipes.moon_tiny.labels import LabelTextObjective, read_facets

CORPORA_ABOUT_FILE = "about.json"
TEXTS_FILE = "texts.jsonl"
TEXT_VECTORS_FILE = "texts.npy"
PHOTOS_FILE = "photos.jsonl"
CAPTION_VECTORS_FILE = "said.npy"

NEIGHBOUR_RUN = 4
"""Number of neighbouring rows that are drawn together. Neighbouring rows have similar content, so a batch contains near
neighbours."""

NO_TEXT_PROB = 0.5
"""Probability that a photo is shown without text."""
RANDOM_TEXT_PROB = 0.3
"""Probability that a photo is shown with a random text of the corpora. The target then has the random text's vector,
so the model must use the text and not only the photo."""


@dataclass(frozen=True)
class CaptionedPhoto:
    """A photo with its captions.

    Attributes:
        item: the photo without text. Photos with the same identity show the same thing to a customer.
        captions: texts that describe the photo, products without images.
        caption_vectors: the text teacher's vectors of the captions, float16 [captions, 384].
        is_drawn: whether the demo shop drew the photo; others are real.
    """

    item: TrainingItem
    captions: Sequence[Product]
    caption_vectors: NDArray[np.float16]
    is_drawn: bool = False


@dataclass(frozen=True)
class Corpora:
    """The data for distillation, written by ``recipes.moon_tiny.corpora``.

    Attributes:
        texts: N products without images, related ones in a row.
        text_vectors: the text teacher's vectors of the texts, float16 [N, 384], L2-normalised.
        photos: photos with captions.
        image_roots: folders that contain the photos.
    """

    texts: Sequence[Product]
    text_vectors: NDArray[np.float16]
    photos: Sequence[CaptionedPhoto]
    image_roots: Sequence[Path]

    @classmethod
    def read(cls, folder: Path) -> "Corpora":
        """Return the corpora of a folder.

        Raises:
            ConfigError: the folder is missing or incomplete.
        """
        try:
            about = json.loads((folder / CORPORA_ABOUT_FILE).read_text())
            texts = [_parse_text(json.loads(line)) for line in (folder / TEXTS_FILE).read_text("utf-8").splitlines()]
            text_vectors = np.load(folder / TEXT_VECTORS_FILE, allow_pickle=False)
            caption_vectors = np.load(folder / CAPTION_VECTORS_FILE, allow_pickle=False)
            photos = list(_read_photos(folder / PHOTOS_FILE, caption_vectors))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"teachers.corpora: {folder} holds no corpora ({error}); `python -m recipes.moon_tiny.corpora "
                f"--out {folder}` makes them"
            ) from error
        if len(texts) != len(text_vectors):
            raise ConfigError(f"teachers.corpora: {folder} has {len(texts)} texts, but {len(text_vectors)} vectors")
        return cls(texts, text_vectors, photos, [Path(root) for root in about["image_roots"]])

    @cached_property
    def _real_and_drawn(self) -> tuple[list[CaptionedPhoto], list[CaptionedPhoto]]:
        return [one for one in self.photos if not one.is_drawn], [one for one in self.photos if one.is_drawn]

    def draw_photos(self, count: int, rng: np.random.Generator) -> list[CaptionedPhoto]:
        """Return different photos, half of them real if there are enough: most of the corpora's photos are drawn."""
        real, drawn = self._real_and_drawn
        real_count = min(len(real), max(count // 2, count - len(drawn)))
        parts = ((real, real_count), (drawn, count - real_count))
        return [photos[row] for photos, number in parts for row in draw_rows(len(photos), number, rng)]


class _CorporaObjective(Objective):
    """An objective on random samples of the corpora, with the weight of the distillation losses."""

    def __init__(self, corpora: Corpora, examples: Examples, settings: TeacherSection, seed: int) -> None:
        super().__init__()
        self.corpora = corpora
        self.examples = examples
        self.settings = settings
        self.weight = settings.anchor_weight
        self.seed = seed
        self.dimension = examples.processor.config.hidden_size


class TextDistillation(_CorporaObjective):
    """Objective that trains embeddings of texts towards the text teacher's vectors."""

    name = "text_anchors"

    def __init__(self, corpora: Corpora, examples: Examples, settings: TeacherSection, seed: int) -> None:
        super().__init__(corpora, examples, settings, seed)
        self._prepared: dict[int, PreparedProduct] = {}

    def prepare_step(self, step: int) -> StepInput:
        """Return random texts of the corpora and their targets."""
        rows = draw_rows(len(self.corpora.texts), self.settings.texts, np.random.default_rng((self.seed, step, 0)))
        targets = build_text_targets(self.corpora.text_vectors[rows], self.dimension)
        return StepInput([self._prepare_text(int(row)) for row in rows], partial(compute_distillation_loss, targets))

    def _prepare_text(self, row: int) -> PreparedProduct:
        """Return a text as token ids; each text is tokenised once."""
        if row not in self._prepared:
            text = replace(self.corpora.texts[row], id=f"text {row}")
            self._prepared[row] = self.examples.prepare_one(TrainingItem(row, text))
        return self._prepared[row]


class PhotoDistillation(_CorporaObjective):
    """Objective that trains embeddings of photos, with or without text, towards both teachers' concatenated vectors."""

    name = "photo_anchors"

    def __init__(
        self,
        corpora: Corpora,
        examples: Examples,
        settings: TeacherSection,
        seed: int,
        cache: FeatureCache,
        basis: VisualBasis,
    ) -> None:
        super().__init__(corpora, examples, settings, seed)
        self.cache = cache
        self.basis = basis

    def prepare_step(self, step: int) -> StepInput:
        """Return random photos, each with a caption, with a random text or without text."""
        rng = np.random.default_rng((self.seed, step, 1))
        items = []
        text_vectors = []
        for photo in self.corpora.draw_photos(self.settings.images, rng):
            text, vector = self._draw_text(photo, rng)
            product = replace(text, id=photo.item.product.id, images=photo.item.product.images)
            items.append(replace(photo.item, product=product))
            text_vectors.append(vector)
        prepared = self.examples.prepare(items)
        return StepInput(prepared, partial(self._loss, prepared, torch.from_numpy(np.stack(text_vectors)).float()))

    def _draw_text(self, photo: CaptionedPhoto, rng: np.random.Generator) -> tuple[Product, NDArray[np.float16]]:
        """Return the text that is shown with a photo, and the text vector of its target.

        A photo without text has the vector of one of its captions as target.
        """
        kind = rng.random()
        if kind < RANDOM_TEXT_PROB:
            row = int(rng.integers(len(self.corpora.texts)))
            return self.corpora.texts[row], self.corpora.text_vectors[row]
        row = int(rng.integers(len(photo.captions)))
        text = Product("") if kind < RANDOM_TEXT_PROB + NO_TEXT_PROB else photo.captions[row]
        return text, photo.caption_vectors[row]

    def _loss(
        self, prepared: Sequence[PreparedProduct], text_vectors: Tensor, embeddings: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        summaries = torch.stack([summarise_grids(self.cache.get_features(one.views)) for one in prepared])
        targets = build_product_targets(text_vectors, self.basis.project(summaries), self.dimension)
        return compute_distillation_loss(targets, embeddings)


class PhotoTextAlignment(_CorporaObjective):
    """Objective that contrasts photos with their captions, in both directions."""

    name = "alignment"

    def __init__(self, corpora: Corpora, examples: Examples, settings: TeacherSection, seed: int) -> None:
        super().__init__(corpora, examples, settings, seed)
        self.weight = settings.weight
        self.contrast = ContrastiveLoss(settings.temperature, margin=None)

    def prepare_step(self, step: int) -> StepInput:
        """Return random photos, then one caption of each."""
        rng = np.random.default_rng((self.seed, step, 2))
        photos = []
        texts = []
        for photo in self.corpora.draw_photos(self.settings.aligned, rng):
            caption = photo.captions[int(rng.integers(len(photo.captions)))]
            photos.append(photo.item)
            texts.append(TrainingItem(photo.item.identity, replace(caption, id=f"text of {photo.item.product.id}")))
        ids = torch.tensor([photo.identity for photo in photos])
        return StepInput(self.examples.prepare([*photos, *texts]), partial(self._loss, ids))

    def _loss(self, ids: Tensor, embeddings: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        ids = ids.to(embeddings.device)
        photos, texts = (Candidates(half, ids) for half in embeddings.chunk(2))
        to_texts = self.contrast(photos.embeddings, texts, texts)
        to_photos = self.contrast(texts.embeddings, photos, photos)
        return (to_texts.loss + to_photos.loss) / 2, {"accuracy": (to_texts.accuracy + to_photos.accuracy) / 2}


def build_teacher_objectives(
    settings: TeacherSection,
    trainable: TrainableModel,
    cache: FeatureCache | None,
    *,
    seed: int,
    pool: Executor | None = None,
    keep_photos: int = 0,
) -> list[Objective]:
    """Return the objectives that a ``[teachers]`` table configures.

    Args:
        settings: the table.
        trainable: model and processor.
        cache: features of the frozen tower.
        seed: seed of the random draws.
        pool: threads that prepare examples.
        keep_photos: number of prepared photos kept in memory.

    Raises:
        ConfigError: the corpora are missing or have fewer rows than a step draws, photos are to be distilled without
            ``model.cache``, or the targets do not fit into the model's embeddings.
    """
    corpora = Corpora.read(settings.corpora)
    for name, wanted, available in (
        ("texts", settings.texts, len(corpora.texts)),
        ("images", settings.images, len(corpora.photos)),
        ("aligned", settings.aligned, len(corpora.photos)),
    ):
        if wanted > available:
            raise ConfigError(f"teachers.{name} is {wanted}, but the corpora hold {available}")
    examples = Examples(trainable.processor, corpora.image_roots, pool=pool, keep_photos=keep_photos)
    dimension = trainable.model.config.hidden_size
    text_dimension = corpora.text_vectors.shape[1]
    check_target_dimensions(dimension, [text_dimension])
    objectives: list[Objective] = []
    if settings.texts:
        objectives.append(TextDistillation(corpora, examples, settings, seed))
    if settings.images:
        if cache is None:
            raise ConfigError(
                "teachers.images needs the frozen tower as teacher: set model.cache, or teachers.images = 0"
            )
        basis = VisualBasis.read(settings.corpora)
        check_target_dimensions(dimension, [text_dimension, basis.axes.shape[1]])
        objectives.append(PhotoDistillation(corpora, examples, settings, seed, cache, basis))
    if settings.aligned:
        objectives.append(PhotoTextAlignment(corpora, examples, settings, seed))
    if settings.labelled:
        objectives.append(LabelTextObjective(read_facets(settings.corpora), examples, settings, seed))
    return objectives


def draw_rows(total: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return different rows in runs of ``NEIGHBOUR_RUN`` neighbours: int64 [count], each in 0 … total - 1."""
    runs = rng.permutation(-(-total // NEIGHBOUR_RUN))
    rows = (runs[:, None] * NEIGHBOUR_RUN + np.arange(NEIGHBOUR_RUN)).ravel()
    return rows[rows < total][:count].astype(np.int64)


def _read_photos(path: Path, caption_vectors: NDArray[np.float16]) -> Iterator[CaptionedPhoto]:
    """Yield the photos of photos.jsonl, {"identity", "image", "region", "texts", "drawn"}, with their vectors."""
    row = 0
    for line in path.read_text("utf-8").splitlines():
        stored = json.loads(line)
        product = {"id": stored["image"], "images": [stored["image"]], "regions": [stored.get("region")]}
        captions = [_parse_text(one) for one in stored["texts"]]
        vectors = caption_vectors[row : row + len(captions)]
        if len(vectors) != len(captions):
            raise ValueError(f"{path.name} has more captions than {CAPTION_VECTORS_FILE} has vectors")
        item = parse_item(int(stored["identity"]), product)
        yield CaptionedPhoto(item, captions, vectors, bool(stored.get("drawn")))
        row += len(captions)


def _parse_text(stored: Mapping[str, Any]) -> Product:
    return Product("", **stored)
