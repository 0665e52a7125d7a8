"""InfoNCE over in-batch, hard, spatial and temporal negatives, with two masks against false negatives.

Each query has one positive: the item bought. Every other item is a negative unless

* it is the same product or a variant of it (*identity mask*, by the id of each embedding), or
* it scores higher than the positive by more than a margin (*score mask*, 0.1 in Qwen3-VL-Embedding). Among items of one
  category these are mostly relevant items that were not bought.

The kinds of negatives are the paper's; temperature, margin and masks are ours (docs/paper.md, "Training").

Shape suffixes: B queries, C candidates, D dimensions of an embedding.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Candidates:
    """Embedded items with their product ids.

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
    """The loss with gradients, and detached scalars for the log.

    Attributes:
        loss: mean cross entropy over the queries, in nats.
        accuracy: share of queries whose positive scores highest among all unmasked candidates.
        negatives: mean number of unmasked negatives of a query.
        masked: mean number of masked candidates of a query.
    """

    loss: Tensor
    accuracy: Tensor
    negatives: Tensor
    masked: Tensor


class ContrastiveLoss(nn.Module):
    """Cross entropy of each query's positive among all its negatives.

    Args:
        temperature: divisor of the cosine similarities; 0.02 as in related models.
        learn_temperature: whether the temperature is trained (limited to 0.005 to 0.5).
        margin: margin of the score mask; None switches the mask off.

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
        """The current temperature, a scalar."""
        return self.log_temperature.exp().clamp(0.005, 0.5)

    def forward(self, queries: Tensor, positives: Candidates, negatives: Candidates) -> LossOutput:
        """Return the loss of a batch.

        Args:
            queries: float [B, D], L2-normalised.
            positives: the item of each query, in the order of the queries; B rows.
            negatives: all other items: gathered positives of the batch (a query's own is masked by its id), hard
                negatives and the queue; C rows, may be empty.
        """
        # 1. Cosine similarity of each query with its positive and with all negatives.
        positive_b1 = (queries * positives.embeddings).sum(-1, keepdim=True)
        scores_bc = queries @ negatives.embeddings.T
        # 2. Mask false negatives: the same product, or a score above the positive's by more than the margin.
        masked_bc = positives.ids[:, None] == negatives.ids[None, :]
        if self.margin is not None:
            masked_bc = masked_bc | (scores_bc.detach() > positive_b1.detach() + self.margin)
        # 3. Logits: the positive is column 0. Masked candidates become -inf after the division, because the gradient of
        #    -inf / temperature is not a number.
        logits = torch.cat([positive_b1, scores_bc], dim=1).float() / self.temperature
        logits = logits.masked_fill(F.pad(masked_bc, (1, 0)), -torch.inf)
        # 4. Cross entropy with column 0 as the right class.
        target_b = torch.zeros(len(queries), dtype=torch.long, device=queries.device)
        return LossOutput(
            loss=F.cross_entropy(logits, target_b),
            accuracy=(logits.argmax(1) == 0).float().mean().detach(),
            negatives=(~masked_bc).sum(1).float().mean().detach(),
            masked=masked_bc.sum(1).float().mean().detach(),
        )
