"""An auxiliary objective: products are classified among the label texts of a facet (type, colour, pattern, …).

Alignment (``teachers.py``) contrasts photos with whole captions of the same batch. That fails for a single word such as
"red", which fits many photos of a batch. Here each product is compared with the texts of all labels of its facet. Half
of the demo products keep their texts, in which the words of the facet are masked, as in the benchmark. The objective is
ours, not the paper's.
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
from moon_model.training.config import ConfigError
from moon_model.training.examples import Examples
from moon_model.training.objective import Objective, StepInput
from moon_model.training.pairs import TrainingItem, parse_item
from recipes.moon_tiny.config import TeacherSection

LABELLED_FILE, LABELS_FILE = "labelled.jsonl", "labels.json"


@dataclass(frozen=True)
class Facet:
    """A property of products with its labels.

    Attributes:
        texts: the wordings of each label.
        items: the products.
        labels: the label of each product, an index of ``texts``.
    """

    texts: Sequence[Sequence[str]]
    items: Sequence[TrainingItem]
    labels: Sequence[int]


def read_facets(folder: Path) -> dict[str, Facet]:
    """Return the facets that ``recipes.moon_tiny.corpora`` wrote.

    Raises:
        ConfigError: the files are missing or damaged.
    """
    try:
        texts = json.loads((folder / LABELS_FILE).read_text(encoding="utf-8"))
        items: dict[str, list[TrainingItem]] = defaultdict(list)
        labels: dict[str, list[int]] = defaultdict(list)
        indices = {facet: {label: index for index, label in enumerate(wordings)} for facet, wordings in texts.items()}
        for line in (folder / LABELLED_FILE).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            facet = row["facet"]
            items[facet].append(parse_item(0, row["product"]))
            labels[facet].append(indices[facet][row["label"]])
        return {facet: Facet(list(wordings.values()), items[facet], labels[facet]) for facet, wordings in texts.items()}
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"teachers.labelled: {folder} holds no labels ({error!r}); `python -m recipes.moon_tiny.corpora --out "
            f"{folder}` makes them"
        ) from error


class LabelTextObjective(Objective):
    """Moves each product to the text of its own label, away from the texts of the facet's other labels."""

    name = "labels"

    def __init__(self, facets: dict[str, Facet], examples: Examples, settings: TeacherSection, seed: int) -> None:
        super().__init__()
        self.facets = facets
        self.examples = examples
        self.settings = settings
        self.seed = seed
        self.weight = settings.weight

    def prepare_step(self, step: int) -> StepInput:
        """Return, facet by facet, random products and one wording of each label."""
        rng = np.random.default_rng((self.seed, step, 3))
        items: list[TrainingItem] = []
        truths: list[Tensor] = []
        sizes: list[int] = []
        for name in sorted(self.facets):
            facet = self.facets[name]
            rows = rng.choice(len(facet.items), size=min(self.settings.labelled, len(facet.items)), replace=False)
            texts = [str(rng.choice(list(wordings))) for wordings in facet.texts]
            items += [facet.items[row] for row in rows]
            items += [TrainingItem(0, Product(f"label {text}", title=text)) for text in texts]
            truths.append(torch.tensor([facet.labels[row] for row in rows]))
            sizes.append(len(rows) + len(texts))
        return StepInput(self.examples.prepare(items), partial(self._loss, sorted(self.facets), truths, sizes))

    def _loss(
        self, names: Sequence[str], truths: Sequence[Tensor], sizes: Sequence[int], embeddings: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sum of the facets' losses, and each facet's accuracy."""
        losses = []
        scalars = {}
        for name, truth, part in zip(names, truths, embeddings.split(list(sizes)), strict=True):
            loss, scalars[f"{name}_accuracy"] = compute_label_loss(truth, self.settings.temperature, part)
            losses.append(loss)
        return torch.stack(losses).sum(), scalars


def compute_label_loss(truth: Tensor, temperature: float, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean cross entropy of each product's label among all labels, in nats, and the accuracy.

    Args:
        truth: label of each product, int64 [N].
        temperature: divisor of the cosine similarities.
        embeddings: float [N + L, D], L2-normalised: N products, then L label texts.
    """
    truth = truth.to(embeddings.device)
    products_nd, labels_ld = embeddings[: len(truth)], embeddings[len(truth) :]
    scores_nl = products_nd @ labels_ld.T
    accuracy = (scores_nl.argmax(1) == truth).float().mean().detach()
    return F.cross_entropy(scores_nl.float() / temperature, truth), accuracy
