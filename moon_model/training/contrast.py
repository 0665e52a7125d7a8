"""The paper's objective: a query and the item bought, against in-batch, hard, spatial and temporal items."""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from moon_model.training.config import LossSection
from moon_model.training.examples import Examples
from moon_model.training.loss import Candidates, ContrastiveLoss
from moon_model.training.negatives import NegativeQueue, gather_candidates
from moon_model.training.objective import Objective, StepInput
from moon_model.training.pairs import Pair, PairSource, TrainingItem

NO_IDENTITY = -1
"""Identity of a place that holds no item: a pair with fewer hard negatives than the others."""


class ContrastiveObjective(Objective):
    """InfoNCE over purchases.

    Args:
        source: the pairs, this process's share of them.
        examples: prepares their items.
        settings: loss and negatives.
        hard_negatives: of a pair, at most so many.
        dimension: D, length of an embedding.
    """

    name = "contrast"

    def __init__(
        self, source: PairSource, examples: Examples, settings: LossSection, *, hard_negatives: int, dimension: int
    ) -> None:
        super().__init__()
        self.source, self.examples = source, examples
        self.hard_negatives, self.spatial = hard_negatives, settings.spatial
        self.loss = ContrastiveLoss(
            settings.temperature,
            learn_temperature=settings.learn_temperature,
            margin=settings.margin if settings.margin >= 0 else None,
        )
        self.queue = (
            NegativeQueue(settings.queue_size, dimension, max_age=settings.queue_age, warm_up=settings.queue_warm_up)
            if settings.queue_size
            else None
        )
        self._batches: Iterator[list[Pair]] = iter(())
        self._next_step: int | None = None
        self._fresh: Candidates | None = None

    def work(self, step: int) -> StepInput:
        """Read and prepare the pairs of a step: queries, then items, then hard negatives."""
        pairs = self._pairs(step)
        hard = [pair.negatives[: self.hard_negatives] for pair in pairs]
        items = [pair.query for pair in pairs] + [pair.item for pair in pairs]
        prepared = self.examples.prepare([*items, *(one for row in hard for one in row)])
        ids = torch.tensor([pair.item.identity for pair in pairs])
        return StepInput(prepared, partial(self._compare, step=step, ids=ids, hard_ids=self._padded(hard)))

    def after_step(self, step: int) -> None:
        """Remember the step's items, those of other processes too, for later steps."""
        if self.queue is not None and self._fresh is not None:
            self.queue.push(self._fresh, step)
        self._fresh = None

    def _compare(
        self, embeddings: Tensor, *, step: int, ids: Tensor, hard_ids: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        size, device = len(ids), embeddings.device
        ids, hard_ids = ids.to(device), hard_ids.to(device)
        positives = Candidates(embeddings[size : 2 * size], ids)
        places = torch.nonzero(hard_ids != NO_IDENTITY).squeeze(-1)
        hard = embeddings.new_zeros(len(hard_ids), embeddings.shape[1]).index_copy(0, places, embeddings[2 * size :])
        own = Candidates.join(positives, Candidates(hard, hard_ids))  # equally many on every process
        gathered = gather_candidates(own)
        self._fresh = _present(Candidates(gathered.embeddings.detach(), gathered.ids))
        negatives = _present(gathered if self.spatial else own)
        if self.queue is not None:
            negatives = Candidates.join(negatives, self.queue.negatives(step))
        found = self.loss(embeddings[:size], positives, negatives)
        return found.loss, {
            "accuracy": found.accuracy,
            "negatives": found.negatives,
            "masked": found.masked,
            "temperature": self.loss.temperature.detach(),
        }

    def _pairs(self, step: int) -> list[Pair]:
        """The pairs of a step; the position in the data is the step, so there is nothing else to resume."""
        epoch, index = divmod(step, self.source.batches_per_epoch)
        if step != self._next_step or index == 0:
            self._batches = self.source.epoch(epoch, index)
        self._next_step = step + 1
        return next(self._batches)

    def _padded(self, hard: Sequence[Sequence[TrainingItem]]) -> Tensor:
        """Identities int64 [B · H], ``NO_IDENTITY`` where a pair has no further negative."""
        ids = [[one.identity for one in row] for row in hard]
        return torch.tensor(
            [one for row in ids for one in [*row, *[NO_IDENTITY] * (self.hard_negatives - len(row))]]
        ).long()


def _present(candidates: Candidates) -> Candidates:
    kept = candidates.ids != NO_IDENTITY
    return Candidates(candidates.embeddings[kept], candidates.ids[kept])
