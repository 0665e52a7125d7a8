"""Tests of the loss against a reference of ten lines; duplicates contribute nothing at any position."""

import math

import pytest
import torch
from torch.nn import functional as F

from moon_model.training.loss import Candidates, ContrastiveLoss


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


def reference(queries, positives, negatives, temperature: float, margin: float | None) -> torch.Tensor:
    losses = []
    for query, positive, own in zip(queries, positives.embeddings, positives.ids, strict=True):
        right = (query @ positive) / temperature
        wrong = [
            (query @ item) / temperature
            for item, name in zip(negatives.embeddings, negatives.ids, strict=True)
            if name != own and (margin is None or query @ item <= query @ positive + margin)
        ]
        losses.append(torch.logsumexp(torch.stack([right, *wrong]), 0) - right)
    return torch.stack(losses).mean()


@pytest.mark.parametrize("margin", [None, 0.1])
def test_loss_and_gradients_equal_the_reference(margin: float | None) -> None:
    embeddings = [unit(6, 8, seed=seed).requires_grad_() for seed in range(3)]
    ids = torch.arange(6)
    positives = Candidates(embeddings[1], ids)
    negatives = Candidates.join(positives, Candidates(embeddings[2], ids + 3))
    found = ContrastiveLoss(0.07, margin=margin)(embeddings[0], positives, negatives).loss
    wanted = reference(embeddings[0], positives, negatives, 0.07, margin)
    assert found.item() == pytest.approx(wanted.item(), abs=1e-5)
    for mine, theirs in zip(
        torch.autograd.grad(found, embeddings), torch.autograd.grad(wanted, embeddings), strict=True
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("place", ["batch", "gathered", "queue"])
def test_a_duplicate_of_the_positive_contributes_nothing(place: str) -> None:
    """A variant in the batch, on another rank or in the queue is masked by its id."""
    queries, items = unit(3, 8), unit(3, 8, seed=1)
    positives = Candidates(items, torch.tensor([1, 2, 3]))
    duplicate = Candidates(unit(1, 8, seed=2).requires_grad_(), torch.tensor([2]))
    others = Candidates(unit(4, 8, seed=3), torch.tensor([10, 11, 12, 13]))
    order = {"batch": (duplicate, positives, others), "gathered": (positives, duplicate, others)}
    with_it = Candidates.join(*order.get(place, (positives, others, duplicate)))
    loss = ContrastiveLoss(0.05, margin=None)
    alone = loss(queries[1:2], Candidates(items[1:2], torch.tensor([2])), Candidates.join(positives, others))
    doubled = loss(queries[1:2], Candidates(items[1:2], torch.tensor([2])), with_it)
    assert doubled.loss.item() == pytest.approx(alone.loss.item(), abs=1e-12)
    doubled.loss.backward()
    assert duplicate.embeddings.grad.abs().sum() == 0
    assert doubled.masked == alone.masked + 1


def test_the_score_mask_drops_what_beats_the_positive_by_the_margin() -> None:
    query = torch.tensor([[1.0, 0.0]])
    positive = Candidates(F.normalize(torch.tensor([[0.8, 0.6]]), dim=-1), torch.tensor([0]))
    better = Candidates(torch.tensor([[1.0, 0.0]]), torch.tensor([1]))
    assert ContrastiveLoss(margin=0.1)(query, positive, better).negatives == 0
    assert ContrastiveLoss(margin=0.3)(query, positive, better).negatives == 1
    assert ContrastiveLoss(margin=None)(query, positive, better).negatives == 1


def test_no_negatives_is_no_loss() -> None:
    positives = Candidates(unit(2, 4), torch.tensor([0, 1]))
    empty = Candidates(torch.zeros(0, 4, dtype=torch.float64), torch.zeros(0, dtype=torch.long))
    assert ContrastiveLoss()(unit(2, 4, seed=1), positives, empty).loss.item() == 0


def test_temperature_learns_within_bounds() -> None:
    loss = ContrastiveLoss(0.02, learn_temperature=True)
    positives = Candidates(unit(4, 8).float(), torch.arange(4))
    loss(unit(4, 8, seed=1).float(), positives, positives).loss.backward()
    assert loss.log_temperature.grad.abs() > 0
    loss.log_temperature.data.fill_(math.log(1e-9))
    assert loss.temperature.item() == pytest.approx(0.005)
    with pytest.raises(ValueError, match="positive"):
        ContrastiveLoss(0.0)
