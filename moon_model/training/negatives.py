"""Where negatives come from beyond a rank's own batch: other ranks (spatial) and past steps (temporal).

Paper, "Training": together about 200 times the in-batch negatives [P/N]; both mechanisms are named there, their sizes
are ours.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_gather

from moon_model.training.loss import Candidates


def gather_candidates(candidates: Candidates) -> Candidates:
    """Return the candidates of all ranks, rank 0 first; gradients flow back to the rank that made an embedding.

    The backward pass sums what every rank's loss says of an embedding. With each rank's loss a mean over its own
    queries and gradients averaged over ranks (as DistributedDataParallel does), W ranks give exactly the gradients of
    one rank that holds the whole batch. Every rank must hold equally many candidates.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return candidates
    ids = [torch.empty_like(candidates.ids) for _ in range(dist.get_world_size())]
    dist.all_gather(ids, candidates.ids.contiguous())
    return Candidates(torch.cat(all_gather(candidates.embeddings.contiguous())), torch.cat(ids))


class NegativeQueue(nn.Module):
    """The last item embeddings of past steps, detached: temporal negatives.

    Its state is buffers, so a checkpoint holds it and a resumed run continues exactly.

    Args:
        size: embeddings kept.
        dimension: their length D.
        max_age: steps after which an embedding no longer counts (the model that made it has moved on).
        warm_up: steps before the queue is used at all; it fills meanwhile.
    """

    embeddings: Tensor
    ids: Tensor
    steps: Tensor
    cursor: Tensor

    def __init__(self, size: int, dimension: int, *, max_age: int, warm_up: int = 0) -> None:
        super().__init__()
        self.max_age = max_age
        self.warm_up = warm_up
        self.register_buffer("embeddings", torch.zeros(size, dimension))
        self.register_buffer("ids", torch.full((size,), -1, dtype=torch.long))
        self.register_buffer("steps", torch.full((size,), -1, dtype=torch.long))
        self.register_buffer("cursor", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def push(self, candidates: Candidates, step: int) -> None:
        """Remember embeddings made at a step; the oldest make room. Of more than ``size`` the last are kept."""
        size = len(self.ids)
        count = min(len(candidates.ids), size)
        if not count:
            return
        places = (self.cursor + torch.arange(count, device=self.ids.device)) % size
        self.embeddings[places] = candidates.embeddings[-count:].detach().to(self.embeddings)
        self.ids[places] = candidates.ids[-count:].to(self.ids.device)
        self.steps[places] = step
        self.cursor.copy_((self.cursor + count) % size)

    def negatives(self, step: int) -> Candidates:
        """Return what counts at a step: pushed at an earlier step and not older than ``max_age`` steps."""
        age = step - self.steps
        valid = (self.steps >= 0) & (age <= self.max_age) & (step >= self.warm_up)
        return Candidates(self.embeddings[valid], self.ids[valid])
