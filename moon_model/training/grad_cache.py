"""Large contrastive batches in small memory (GradCache, Gao et al. 2021).

The loss needs all embeddings of a batch at once, but their graphs need not live at once: embed chunk by chunk without
a graph, take the loss's gradient with respect to the embeddings, then embed each chunk again with a graph and push
that gradient through. Two forward passes for a batch size that memory no longer limits; exact, as long as a chunk
embeds the same both times (dropout off, or the random state kept as here).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

EmbedChunk = Callable[[Any], tuple[Tensor, Tensor]]
"""Chunk → (embeddings [n, D], an extra loss of the chunk, such as the MoE balance term; a scalar)."""


def backward_in_chunks(
    embed: EmbedChunk, chunks: Sequence[Any], loss: Callable[[Tensor], Tensor], *, scale: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Accumulate the gradients of ``loss(all embeddings) + mean extra loss`` in the parameters.

    Args:
        embed: the model.
        chunks: the batch, cut up; every chunk non-empty.
        loss: embeddings of all chunks in order [N, D] → scalar; parameters of its own get their gradients too.
        scale: applied to every scalar before its backward (a gradient scaler, or the identity).

    Returns:
        (loss, mean extra loss), detached scalars.
    """
    if len(chunks) == 1:  # it fits as a whole: the second pass would buy nothing
        embeddings, extra = embed(chunks[0])
        value = loss(embeddings)
        (scale(value) + scale(extra)).backward()
        return value.detach(), extra.detach()
    states, cached = [], []
    with torch.no_grad():
        for chunk in chunks:
            states.append(_random_state())
            cached.append(embed(chunk)[0])
    leaves = [embeddings.detach().requires_grad_() for embeddings in cached]
    value = loss(torch.cat(leaves))
    scale(value).backward()
    total = value.new_zeros(())
    for chunk, leaf, state in zip(chunks, leaves, states, strict=True):
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            _restore(state)
            embeddings, extra = embed(chunk)
        share = extra / len(chunks)
        gradient = leaf.grad if leaf.grad is not None else torch.zeros_like(leaf)
        ((embeddings * gradient.to(embeddings)).sum() + scale(share)).backward()
        total = total + share.detach()
    return value.detach(), total


def _random_state() -> tuple[Tensor, list[Tensor]]:
    return torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []


def _restore(state: tuple[Tensor, list[Tensor]]) -> None:
    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])
