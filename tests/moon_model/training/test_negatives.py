"""Tests of negatives: spatial ones give the gradients of one rank; temporal ones expire, warm up and wrap around."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn import functional as F

from moon_model.training.loss import Candidates, ContrastiveLoss
from moon_model.training.negatives import NegativeQueue, gather_candidates


def candidates(*ids: int, value: float = 1.0) -> Candidates:
    return Candidates(torch.full((len(ids), 2), value), torch.tensor(ids, dtype=torch.long))


def test_the_queue_wraps_ages_and_warms_up() -> None:
    queue = NegativeQueue(4, 2, max_age=2, warm_up=3)
    queue.push(candidates(1, 2, 3), step=1)
    assert len(queue.select_negatives(2).ids) == 0
    assert sorted(queue.select_negatives(3).ids.tolist()) == [1, 2, 3]
    queue.push(candidates(4, 5), step=3)
    assert sorted(queue.select_negatives(3).ids.tolist()) == [2, 3, 4, 5]
    assert sorted(queue.select_negatives(4).ids.tolist()) == [4, 5]
    assert len(queue.select_negatives(6).ids) == 0


def test_more_than_the_queue_holds_keeps_the_last() -> None:
    queue = NegativeQueue(2, 2, max_age=9)
    queue.push(candidates(1, 2, 3), step=0)
    assert sorted(queue.select_negatives(0).ids.tolist()) == [2, 3]


def test_the_queue_holds_no_graph_and_survives_a_checkpoint() -> None:
    queue = NegativeQueue(3, 2, max_age=9)
    item = torch.ones(1, 2, requires_grad=True)
    queue.push(Candidates(item * 2, torch.tensor([7])), step=0)
    assert not queue.select_negatives(1).embeddings.requires_grad
    other = NegativeQueue(3, 2, max_age=9)
    other.load_state_dict(queue.state_dict())
    other.push(candidates(8), step=1)
    assert sorted(other.select_negatives(1).ids.tolist()) == [7, 8]


def gradients(model: nn.Module, inputs: torch.Tensor, ids: torch.Tensor) -> list[torch.Tensor]:
    queries = F.normalize(model(inputs[:, 0]), dim=-1)
    positives = Candidates(F.normalize(model(inputs[:, 1]), dim=-1), ids)
    ContrastiveLoss(0.1)(queries, positives, gather_candidates(positives)).loss.backward()
    return [parameter.grad for parameter in model.parameters()]


def case() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return nn.Linear(5, 4).double(), torch.randn(8, 2, 5, dtype=torch.float64), torch.arange(8)


def rank(number: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=number, world_size=2, timeout=timedelta(minutes=1)
    )
    model, inputs, ids = case()
    parallel = nn.parallel.DistributedDataParallel(model)
    half = slice(number * 4, number * 4 + 4)
    found = gradients(parallel, inputs[half], ids[half])
    if number == 0:
        torch.save(found, Path(folder) / "gradients.pt")
    dist.barrier()
    # No clean-up: torch frees DistributedDataParallel's Gloo group with the GIL held and joins a thread that may be
    # waiting for it, about one time in ten for ever.
    os._exit(0)


def test_two_ranks_give_one_ranks_gradients(tmp_path: Path) -> None:
    mp.spawn(rank, args=(str(tmp_path),), nprocs=2)
    wanted = gradients(*case())
    found = torch.load(tmp_path / "gradients.pt", weights_only=True)
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


def test_alone_gather_is_the_identity() -> None:
    own = candidates(1, 2)
    assert gather_candidates(own) is own


@pytest.mark.parametrize("count", [0, 1])
def test_pushing_nothing_is_allowed(count: int) -> None:
    queue = NegativeQueue(2, 2, max_age=1)
    queue.push(candidates(*range(count)), step=0)
    assert len(queue.select_negatives(1).ids) == count
