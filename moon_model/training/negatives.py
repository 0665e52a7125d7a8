"""Negatives from outside a process's batch: items of other processes (spatial) and of past steps (temporal).

Together they are about 200 times the in-batch negatives in the paper; their sizes are ours (docs/paper.md, "Training").
"""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.nn.functional import all_gather

from moon_model.training.loss import Candidates


def gather_candidates(candidates: Candidates) -> Candidates:
    """Return the candidates of all ranks, rank 0 first. Gradients flow back to the rank that made an embedding.

    The backward pass sums the gradients of all ranks' losses with respect to an embedding. If each rank's loss is a
    mean over its own queries and gradients are averaged over W ranks, the result is exactly the gradient of one rank
    that has the whole batch. Every rank must have the same number of candidates.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return candidates
    ids = [torch.empty_like(candidates.ids) for _ in range(dist.get_world_size())]
    dist.all_gather(ids, candidates.ids.contiguous())
    return Candidates(torch.cat(all_gather(candidates.embeddings.contiguous())), torch.cat(ids))


class NegativeQueue(nn.Module):
    """A ring buffer of detached item embeddings of past steps: the temporal negatives.

    Its state consists of buffers, so checkpoints contain it and a resumed run is exact.

    Args:
        size: number of embeddings that are kept.
        dimension: D, length of an embedding.
        max_age: maximum age in steps of a negative. Older ones are from a model that differs too much.
        warm_up: first step at which the queue returns negatives. It is filled before.
    """

    def __init__(self, size: int, dimension: int, *, max_age: int, warm_up: int = 0) -> None:
        super().__init__()
        self.max_age = max_age
        self.warm_up = warm_up
        self.embeddings = nn.Buffer(torch.zeros(size, dimension))
        self.ids = nn.Buffer(torch.full((size,), -1, dtype=torch.long))
        self.steps = nn.Buffer(torch.full((size,), -1, dtype=torch.long))  # -1: the slot is empty
        self.cursor = nn.Buffer(torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def push(self, candidates: Candidates, step: int) -> None:
        """Add the embeddings of a step in place of the oldest. If they are more than ``size``, the last are kept."""
        size = len(self.ids)
        count = min(len(candidates.ids), size)
        if not count:
            return
        # 1. The slots behind the cursor, which contain the oldest embeddings.
        slots = (self.cursor + torch.arange(count, device=self.ids.device)) % size
        # 2. Write embeddings, ids and the step of origin.
        self.embeddings[slots] = candidates.embeddings[-count:].detach().to(self.embeddings)
        self.ids[slots] = candidates.ids[-count:].to(self.ids.device)
        self.steps[slots] = step
        # 3. Move the cursor in place: it is a buffer of the checkpoint.
        self.cursor.copy_((self.cursor + count) % size)

    def select_negatives(self, step: int) -> Candidates:
        """Return the filled slots that are at most ``max_age`` steps old; none before ``warm_up``."""
        is_used = (self.steps >= 0) & (step - self.steps <= self.max_age) & (step >= self.warm_up)
        return Candidates(self.embeddings[is_used], self.ids[is_used])
