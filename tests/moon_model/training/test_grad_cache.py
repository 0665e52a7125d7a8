"""Chunked gradients equal those of the whole batch at once."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from moon_model.training.grad_cache import backward_in_chunks


def contrast(embeddings: torch.Tensor) -> torch.Tensor:
    queries, items = embeddings[::2], embeddings[1::2]
    return F.cross_entropy(queries @ items.T / 0.1, torch.arange(len(queries)))


def model(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), nn.Dropout(dropout), nn.Tanh(), nn.Linear(6, 4)).double()


@pytest.mark.parametrize("chunk", [1, 3, 12])
def test_equal_to_one_pass(chunk: int) -> None:
    inputs = torch.randn(12, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    whole, parts = model(), model()
    wanted = contrast(F.normalize(whole(inputs), dim=-1))
    (wanted + whole(inputs).square().mean()).backward()

    def embed(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = parts(rows)
        return F.normalize(hidden, dim=-1), hidden.square().mean()

    found, extra = backward_in_chunks(embed, inputs.split(chunk), contrast)
    assert found.item() == pytest.approx(wanted.item(), abs=1e-12)
    assert extra.item() == pytest.approx(whole(inputs).square().mean().item(), abs=1e-12)
    for mine, theirs in zip(parts.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_dropout_falls_the_same_way_twice() -> None:
    seen: list[torch.Tensor] = []
    net = model(0.5)

    def embed(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = net(rows)
        seen.append(hidden.detach())
        return hidden, hidden.new_zeros(())

    backward_in_chunks(embed, torch.randn(4, 5).double().split(2), lambda e: e.sum())
    torch.testing.assert_close(seen[0], seen[2])
    torch.testing.assert_close(seen[1], seen[3])
    assert not torch.equal(seen[0], seen[1])
