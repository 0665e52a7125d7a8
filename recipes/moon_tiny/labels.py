"""Products meet the words for what they are: type, colour, pattern, garment, kind of grocery.

Alignment (``teachers.py``) pairs a photo with whole sentences; a single word such as "red" fits too many photos of a
batch to be contrasted with them. Here a step takes products of every facet and tells each one's label from all other
labels of its facet. Half of the demo products keep their texts, with the facet's words masked, as the benchmark asks.
Ours, not the paper's.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from moon_model.product import Product
from moon_model.training.config import ConfigError, TeacherSection
from moon_model.training.examples import Examples
from moon_model.training.objective import Objective, StepInput
from moon_model.training.pairs import TrainingItem, parse_item

LABELLED_FILE, LABELS_FILE = "labelled.jsonl", "labels.json"


@dataclass(frozen=True)
class Facet:
    """Something that can be said of products.

    Attributes:
        texts: for each label the words for it.
        items: the products.
        labels: of each product, its place in ``texts``.
    """

    texts: Sequence[Sequence[str]]
    items: Sequence[TrainingItem]
    labels: Sequence[int]


def read_facets(folder: Path) -> dict[str, Facet]:
    """Read what ``recipes.moon_tiny.corpora`` wrote of labels.

    Raises:
        ConfigError: it is missing or damaged.
    """
    try:
        texts = json.loads((folder / LABELS_FILE).read_text(encoding="utf-8"))
        items: dict[str, list[TrainingItem]] = defaultdict(list)
        labels: dict[str, list[int]] = defaultdict(list)
        places = {facet: {label: place for place, label in enumerate(known)} for facet, known in texts.items()}
        for line in (folder / LABELLED_FILE).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            items[row["facet"]].append(parse_item(0, row["product"]))
            labels[row["facet"]].append(places[row["facet"]][row["label"]])
        return {facet: Facet(list(known.values()), items[facet], labels[facet]) for facet, known in texts.items()}
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"teachers.labelled: {folder} holds no labels ({error!r}); `python -m recipes.moon_tiny.corpora --out "
            f"{folder}` makes them"
        ) from error


class LabelTextObjective(Objective):
    """A product lies nearest to the words for it, of all words of one facet."""

    name = "labels"

    def __init__(self, facets: dict[str, Facet], examples: Examples, settings: TeacherSection, seed: int) -> None:
        super().__init__()
        self.facets, self.examples, self.settings, self.seed = facets, examples, settings, seed
        self.weight = settings.weight

    def work(self, step: int) -> StepInput:
        """Draw products of every facet, and one wording of every label."""
        rng = np.random.default_rng((self.seed, step, 3))
        items: list[TrainingItem] = []
        truths: list[Tensor] = []
        sizes: list[int] = []
        for name in sorted(self.facets):
            facet = self.facets[name]
            rows = rng.choice(len(facet.items), size=min(self.settings.labelled, len(facet.items)), replace=False)
            words = [str(rng.choice(list(texts))) for texts in facet.texts]
            items += [facet.items[row] for row in rows]
            items += [TrainingItem(0, Product(f"label {word}", title=word)) for word in words]
            truths.append(torch.tensor([facet.labels[row] for row in rows]))
            sizes.append(len(rows) + len(words))
        return StepInput(self.examples.prepare(items), partial(self._loss, sorted(self.facets), truths, sizes))

    def _loss(
        self, names: Sequence[str], truths: Sequence[Tensor], sizes: Sequence[int], embeddings: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sum of the facets' losses, and each facet's accuracy."""
        parts = embeddings.split(list(sizes))
        found = [
            compute_label_loss(truth, self.settings.temperature, part)
            for truth, part in zip(truths, parts, strict=True)
        ]
        seen = {f"{name}_accuracy": accuracy for name, (_, accuracy) in zip(names, found, strict=True)}
        return torch.stack([loss for loss, _ in found]).sum(), seen


def compute_label_loss(truth: Tensor, temperature: float, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Cross entropy of each product's label against all labels.

    Args:
        truth: int64 [N].
        temperature: divides the cosine similarities.
        embeddings: float [N + L, D], L2-normalised: products, then label texts.

    Returns:
        The mean in nats, and the share of products nearest to their own label.
    """
    truth = truth.to(embeddings.device)
    products, labels = embeddings[: len(truth)], embeddings[len(truth) :]
    scores = products @ labels.T
    right = (scores.argmax(1) == truth).float().mean().detach()
    return F.cross_entropy(scores.float() / temperature, truth), right
