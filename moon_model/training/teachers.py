"""The first stage of the compact model: frozen teachers lend their neighbourhoods before purchases are contrasted.

A small model that sees purchases of one shop only forgets what its parts knew. So its texts keep the neighbour
structure of all-MiniLM-L6-v2 and its photos that of EfficientNet-Lite0 (relational distillation: the softmax over the
similarities within a batch is matched, so teacher and student may differ in size), and photos meet the texts that
describe them. The same losses, weighted, hold the model together in the second stage. Ours, not the paper's.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from moon_model.product import Product
from moon_model.training.config import ConfigError, TeacherSection
from moon_model.training.examples import Examples
from moon_model.training.feature_cache import FeatureCache
from moon_model.training.labels import LabelTexts, read_facets
from moon_model.training.learner import Learner
from moon_model.training.loss import Candidates, ContrastiveLoss
from moon_model.training.objective import Objective, Work
from moon_model.training.pairs import Item, item_from_json

TEXTS, TEXT_VECTORS, PHOTOS, ALIGNED, ABOUT = "texts.txt", "texts.npy", "photos.jsonl", "aligned.jsonl", "about.json"

RUN = 4
"""Neighbouring rows drawn together: corpora lie in order of what they are about, so a batch has near neighbours too."""


@dataclass(frozen=True)
class Corpora:
    """What teachers teach on, as ``moon_model.training.corpora`` writes it.

    Attributes:
        texts: N texts, related ones side by side.
        vectors: the text teacher's embeddings float [N, 384], L2-normalised.
        photos: items of one photo and no text.
        aligned: (photo, texts that describe it); pairs of one identity are never told apart.
        image_roots: folders that the photos lie in.
    """

    texts: Sequence[str]
    vectors: NDArray[np.float16]
    photos: Sequence[Item]
    aligned: Sequence[tuple[Item, Sequence[str]]]
    image_roots: Sequence[Path]

    @classmethod
    def read(cls, folder: Path) -> "Corpora":
        """Read a folder of corpora.

        Raises:
            ConfigError: it is missing or incomplete.
        """
        try:
            about = json.loads((folder / ABOUT).read_text())
            texts = (folder / TEXTS).read_text(encoding="utf-8").splitlines()
            vectors = np.load(folder / TEXT_VECTORS, mmap_mode="r", allow_pickle=False)
            photos = [_item(line) for line in (folder / PHOTOS).read_text().splitlines()]
            aligned = [(_item(line), json.loads(line)["texts"]) for line in (folder / ALIGNED).read_text().splitlines()]
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(
                f"teachers.corpora: {folder} holds no corpora ({error}); `python -m moon_model.training.corpora "
                f"--out {folder}` makes them"
            ) from error
        if len(texts) != len(vectors):
            raise ConfigError(f"teachers.corpora: {folder} has {len(texts)} texts, but {len(vectors)} vectors")
        return cls(texts, vectors, photos, aligned, [Path(root) for root in about["image_roots"]])


def neighbour_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL divergence between the neighbourhoods of a batch as teacher and student see them.

    Args:
        student: float [N, D], L2-normalised.
        teacher: float [N, E], L2-normalised.
        temperature: of both softmaxes over the N - 1 others.

    Returns:
        A scalar, 0 when all neighbourhoods agree.
    """
    itself = torch.eye(len(student), dtype=torch.bool, device=student.device)
    wanted = (teacher @ teacher.T / temperature).masked_fill(itself, -torch.inf).softmax(-1)
    found = (student @ student.T / temperature).masked_fill(itself, -torch.inf).log_softmax(-1)
    return F.kl_div(found.masked_fill(itself, 0.0), wanted, reduction="batchmean")


class TextNeighbours(Objective):
    """Texts keep the neighbourhoods that the text teacher gave them."""

    name = "text_neighbours"

    def __init__(self, corpora: Corpora, examples: Examples, settings: TeacherSection, seed: int) -> None:
        super().__init__()
        self.corpora, self.examples, self.settings, self.seed = corpora, examples, settings, seed
        self.weight = settings.weight

    def work(self, step: int) -> Work:
        """Draw texts."""
        rows = draw(len(self.corpora.texts), self.settings.texts, np.random.default_rng((self.seed, step, 0)))
        items = [Item(int(row), Product(f"text {row}", title=self.corpora.texts[row])) for row in rows]
        teacher = torch.from_numpy(np.asarray(self.corpora.vectors[rows], dtype=np.float32))
        return Work(self.examples.prepare(items), partial(_neighbours, teacher, self.settings.temperature))


class ImageNeighbours(Objective):
    """Photos keep the neighbourhoods that the frozen vision tower alone gives them."""

    name = "image_neighbours"

    def __init__(
        self, corpora: Corpora, examples: Examples, cache: FeatureCache, settings: TeacherSection, seed: int
    ) -> None:
        super().__init__()
        self.corpora, self.examples, self.cache = corpora, examples, cache
        self.settings, self.seed = settings, seed
        self.weight = settings.weight

    def work(self, step: int) -> Work:
        """Draw photos."""
        rows = draw(len(self.corpora.photos), self.settings.images, np.random.default_rng((self.seed, step, 1)))
        prepared = self.examples.prepare([self.corpora.photos[row] for row in rows])
        return Work(prepared, partial(self._loss, [one.views[0] for one in prepared]))

    def _loss(self, views: Sequence[NDArray[np.uint8]], embeddings: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        teacher = F.normalize(self.cache.features(views).mean((2, 3)), dim=-1)  # the tower's own pooled feature
        return _neighbours(teacher, self.settings.temperature, embeddings)


class Alignment(Objective):
    """A photo and a text that describes it meet, in both directions."""

    name = "alignment"

    def __init__(self, corpora: Corpora, examples: Examples, settings: TeacherSection, seed: int) -> None:
        super().__init__()
        self.corpora, self.examples, self.settings, self.seed = corpora, examples, settings, seed
        self.weight = settings.weight
        self.contrast = ContrastiveLoss(settings.temperature, margin=None)

    def work(self, step: int) -> Work:
        """Draw photos, and for each one of its texts."""
        rng = np.random.default_rng((self.seed, step, 2))
        rows = draw(len(self.corpora.aligned), self.settings.aligned, rng)
        photos, texts = [], []
        for row in rows:
            photo, said = self.corpora.aligned[row]
            photos.append(photo)
            texts.append(Item(photo.identity, Product(f"text of {photo.product.id}", title=str(rng.choice(said)))))
        ids = torch.tensor([photo.identity for photo in photos])
        return Work(self.examples.prepare([*photos, *texts]), partial(self._loss, ids))

    def _loss(self, ids: Tensor, embeddings: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        ids = ids.to(embeddings.device)
        photos, texts = (Candidates(half, ids) for half in embeddings.chunk(2))
        there = self.contrast(photos.embeddings, texts, texts)
        back = self.contrast(texts.embeddings, photos, photos)
        return (there.loss + back.loss) / 2, {"accuracy": (there.accuracy + back.accuracy) / 2}


def build_teachers(
    settings: TeacherSection, learner: Learner, cache: FeatureCache | None, *, seed: int
) -> list[Objective]:
    """Make the objectives that a ``[teachers]`` table asks for.

    Raises:
        ConfigError: no corpora, corpora smaller than a batch, or photos without ``model.cache``.
    """
    corpora = Corpora.read(settings.corpora)
    for name, wanted, there in (
        ("texts", settings.texts, len(corpora.texts)),
        ("images", settings.images, len(corpora.photos)),
        ("aligned", settings.aligned, len(corpora.aligned)),
    ):
        if wanted > there:
            raise ConfigError(f"teachers.{name} is {wanted}, but the corpora hold {there}")
    examples = Examples(learner.processor, corpora.image_roots)
    objectives: list[Objective] = []
    if settings.texts:
        objectives.append(TextNeighbours(corpora, examples, settings, seed))
    if settings.images:
        if cache is None:
            raise ConfigError(
                "teachers.images needs the frozen tower as teacher: set model.cache, or teachers.images = 0"
            )
        objectives.append(ImageNeighbours(corpora, examples, cache, settings, seed))
    if settings.aligned:
        objectives.append(Alignment(corpora, examples, settings, seed))
    if settings.labelled:
        objectives.append(LabelTexts(read_facets(settings.corpora), examples, settings, seed))
    return objectives


def draw(total: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw different rows in runs of ``RUN`` neighbours: int64 [count] of 0 … total - 1."""
    runs = rng.permutation(-(-total // RUN))
    rows = (runs[:, None] * RUN + np.arange(RUN)).ravel()
    return rows[rows < total][:count].astype(np.int64)


def _neighbours(teacher: Tensor, temperature: float, embeddings: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    return neighbour_loss(embeddings, teacher.to(embeddings.device), temperature), {}


def _item(line: str) -> Item:
    """A line of photos.jsonl or aligned.jsonl: {"identity", "image", "region", …}."""
    stored = json.loads(line)
    product = {"id": stored["image"], "images": [stored["image"]], "regions": [stored.get("region")]}
    return item_from_json(int(stored["identity"]), product)
