"""InfoNCE over in-batch, hard, spatial and temporal negatives, with the two masks that keep false negatives out.

Every query has one positive: the item bought. All other items are negatives unless

* they are the same product or a variant of it (*identity mask*, by the ids kept beside every embedding), or
* they score higher than the positive by more than a margin (*score mask*; Qwen3-VL-Embedding uses 0.1): among items of
  one category those are mostly right answers that nobody bought.

The paper names the negatives [P]; temperature, margin and masks are ours (reference/paper.md, "Training").
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Candidates:
    """Items to be told apart from the positives.

    Attributes:
        embeddings: float [C, D], L2-normalised.
        ids: int64 [C]; variants of one product share an id.
    """

    embeddings: Tensor
    ids: Tensor

    @classmethod
    def join(cls, *parts: "Candidates") -> "Candidates":
        """Return all parts as one set, in order."""
        return cls(torch.cat([part.embeddings for part in parts]), torch.cat([part.ids for part in parts]))


@dataclass(frozen=True)
class LossOutput:
    """The loss and what to watch beside it (all scalars but ``loss`` are detached).

    Attributes:
        loss: mean cross entropy over the queries, in nats.
        accuracy: share of queries whose positive scores highest among all candidates that count.
        negatives: mean number of negatives a query was told apart from.
        masked: mean number of candidates a query lost to the two masks.
    """

    loss: Tensor
    accuracy: Tensor
    negatives: Tensor
    masked: Tensor


class ContrastiveLoss(nn.Module):
    """Cross entropy of each query's positive against all its negatives.

    Args:
        temperature: divides the cosine similarities; 0.02 as the neighbouring models.
        learn_temperature: whether training moves it (kept between 0.005 and 0.5).
        margin: the score mask's margin; None switches the mask off.

    Raises:
        ValueError: the temperature is not positive.
    """

    def __init__(
        self, temperature: float = 0.02, *, learn_temperature: bool = False, margin: float | None = 0.1
    ) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, not {temperature}")
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)), requires_grad=learn_temperature)
        self.margin = margin

    @property
    def temperature(self) -> Tensor:
        """The temperature in force, a scalar."""
        return self.log_temperature.exp().clamp(0.005, 0.5)

    def forward(self, queries: Tensor, positives: Candidates, negatives: Candidates) -> LossOutput:
        """Compare queries with their positives and everything else.

        Args:
            queries: float [B, D], L2-normalised.
            positives: the item of each query, in the queries' order; B rows.
            negatives: all other items, [C]: gathered positives of the batch (a query's own is masked by its id),
                hard negatives, the queue. May be empty.
        """
        positive_scores = (queries * positives.embeddings).sum(-1, keepdim=True)  # [B, 1]
        scores = queries @ negatives.embeddings.T  # [B, C]
        masked = positives.ids[:, None] == negatives.ids[None, :]
        if self.margin is not None:
            masked = masked | (scores.detach() > positive_scores.detach() + self.margin)
        logits = torch.cat([positive_scores, scores], dim=1).float() / self.temperature
        # masked after the division: the gradient of -inf / temperature is not a number
        logits = logits.masked_fill(F.pad(masked, (1, 0)), -torch.inf)
        target = torch.zeros(len(queries), dtype=torch.long, device=queries.device)
        return LossOutput(
            loss=F.cross_entropy(logits, target),
            accuracy=(logits.argmax(1) == 0).float().mean().detach(),
            negatives=(~masked).sum(1).float().mean().detach(),
            masked=masked.sum(1).float().mean().detach(),
        )
