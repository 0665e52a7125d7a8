"""The contrastive objective of the paper: a query's purchased item is scored against four kinds of negatives.

Shape suffixes: B pairs of a step, H hard negatives of a pair, C candidates, D dimensions of an embedding.
"""

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
"""Id of padding: a pair that has fewer hard negatives than the maximum."""


class ContrastiveObjective(Objective):
    """InfoNCE over pairs of a query and the item bought.

    Args:
        source: this process's share of the pairs.
        examples: prepares the items of pairs.
        settings: loss and negatives.
        hard_negatives: H, maximum number of hard negatives of a pair.
        dimension: D, length of an embedding.
    """

    name = "contrast"

    def __init__(
        self, source: PairSource, examples: Examples, settings: LossSection, *, hard_negatives: int, dimension: int
    ) -> None:
        super().__init__()
        self.source = source
        self.examples = examples
        self.hard_negatives = hard_negatives
        self.spatial = settings.spatial
        margin = settings.margin if settings.margin >= 0 else None
        self.loss = ContrastiveLoss(settings.temperature, learn_temperature=settings.learn_temperature, margin=margin)
        self.queue = (
            NegativeQueue(settings.queue_size, dimension, max_age=settings.queue_age, warm_up=settings.queue_warm_up)
            if settings.queue_size
            else None
        )
        self._batches: Iterator[list[Pair]] = iter(())
        self._next_step: int | None = None
        self._new_items: Candidates | None = None

    def prepare_step(self, step: int) -> StepInput:
        """Return the prepared products of a step's pairs: B queries, B items, then all hard negatives."""
        pairs = self._read_pairs(step)
        hard = [pair.negatives[: self.hard_negatives] for pair in pairs]
        items = [pair.query for pair in pairs] + [pair.item for pair in pairs]
        prepared = self.examples.prepare([*items, *(item for row in hard for item in row)])
        ids_b = torch.tensor([pair.item.identity for pair in pairs])
        return StepInput(prepared, partial(self._compare, step=step, ids_b=ids_b, hard_ids=self._pad_ids(hard)))

    def after_step(self, step: int) -> None:
        """Put the step's items, those of other processes included, into the queue."""
        if self.queue is not None and self._new_items is not None:
            self.queue.push(self._new_items, step)
        self._new_items = None

    def _compare(
        self, embeddings: Tensor, *, step: int, ids_b: Tensor, hard_ids: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a step's embeddings and scalars for the log; ``hard_ids`` is int64 [B · H]."""
        size = len(ids_b)
        ids_b = ids_b.to(embeddings.device)
        hard_ids = hard_ids.to(embeddings.device)
        # 1. Split the embeddings. Hard negatives are padded to B · H rows: all processes gather the same number.
        positives = Candidates(embeddings[size : 2 * size], ids_b)
        rows = torch.nonzero(hard_ids != NO_IDENTITY).squeeze(-1)
        hard = embeddings.new_zeros(len(hard_ids), embeddings.shape[1]).index_copy(0, rows, embeddings[2 * size :])
        own = Candidates.join(positives, Candidates(hard, hard_ids))
        # 2. Spatial negatives: the items of all processes. They enter the queue after the step.
        gathered = gather_candidates(own)
        self._new_items = _drop_padding(Candidates(gathered.embeddings.detach(), gathered.ids))
        negatives = _drop_padding(gathered if self.spatial else own)
        # 3. Temporal negatives.
        if self.queue is not None:
            negatives = Candidates.join(negatives, self.queue.select_negatives(step))
        # 4. The loss over all candidates.
        output = self.loss(embeddings[:size], positives, negatives)
        scalars = {name: getattr(output, name) for name in ("accuracy", "negatives", "masked")}
        return output.loss, scalars | {"temperature": self.loss.temperature.detach()}

    def _read_pairs(self, step: int) -> list[Pair]:
        """Return the pairs of a step. The step determines the position in the data, so no position is saved."""
        epoch, index = divmod(step, self.source.batches_per_epoch)
        if step != self._next_step or index == 0:
            self._batches = self.source.iter_epoch(epoch, index)
        self._next_step = step + 1
        return next(self._batches)

    def _pad_ids(self, hard: Sequence[Sequence[TrainingItem]]) -> Tensor:
        """Return ids int64 [B · H], ``NO_IDENTITY`` where a pair has fewer hard negatives."""
        ids = [[item.identity for item in row] + [NO_IDENTITY] * (self.hard_negatives - len(row)) for row in hard]
        return torch.tensor(ids, dtype=torch.long).flatten()


def _drop_padding(candidates: Candidates) -> Candidates:
    """Return the candidates without the padding of pairs that have fewer hard negatives."""
    is_item = candidates.ids != NO_IDENTITY
    return Candidates(candidates.embeddings[is_item], candidates.ids[is_item])
