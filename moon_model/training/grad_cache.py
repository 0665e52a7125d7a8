"""Gradients of a loss over a large batch in the memory of a small one (GradCache, Gao et al. 2021).

A contrastive loss needs all embeddings of a batch at once, but not all their graphs. So the batch is embedded twice:
first without graphs, to get the loss and its gradient with respect to the embeddings; then chunk by chunk with a graph,
through which that gradient is propagated. The result is exact if a chunk has the same embeddings both times; therefore
random states are restored. Reasons for our own code: docs/decisions/0027-gradcache.md.

Shape suffixes: N products of the batch, n of a chunk, D dimensions of an embedding.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from moon_model.training.random_state import get_random_state, set_random_state

EmbedChunk = Callable[[Any], tuple[Tensor, Tensor]]
"""Takes a chunk. Returns embeddings [n, D] and an additional loss of the chunk, such as the MoE balance term."""


def backward_in_chunks(
    embed: EmbedChunk, chunks: Sequence[Any], loss: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Add the gradients of ``loss(all embeddings) + mean additional loss`` to the parameters.

    Args:
        embed: the model.
        chunks: the batch in non-empty parts.
        loss: takes the embeddings of all chunks in order [N, D], returns a scalar. Its own parameters get gradients.

    Returns:
        Loss and mean additional loss, detached scalars.
    """
    # With one chunk the graph fits into memory, and a second pass would give the same gradients.
    if len(chunks) == 1:
        emb_nd, extra = embed(chunks[0])
        value = loss(emb_nd)
        (value + extra).backward()
        return value.detach(), extra.detach()

    # 1. Embed all chunks without graphs. Keep the random states, so that dropout can be repeated.
    states = []
    leaves_nd = []
    with torch.no_grad():
        for chunk in chunks:
            states.append(get_random_state())
            leaves_nd.append(embed(chunk)[0].requires_grad_())

    # 2. The loss and its gradient with respect to the embeddings, which are the leaves of its graph.
    value = loss(torch.cat(leaves_nd))
    value.backward()

    # 3. Embed each chunk again, with a graph. The gradient of sum(embeddings * gradient) with respect to the
    #    parameters is the chain rule: dL/dparameters = dL/dembeddings * dembeddings/dparameters.
    total_extra = value.new_zeros(())
    for chunk, leaf_nd, state in zip(chunks, leaves_nd, states, strict=True):
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            set_random_state(state)
            emb_nd, extra = embed(chunk)
        grad_nd = leaf_nd.grad if leaf_nd.grad is not None else torch.zeros_like(leaf_nd)
        extra = extra / len(chunks)
        ((emb_nd * grad_nd.to(emb_nd)).sum() + extra).backward()
        total_extra = total_extra + extra.detach()
    return value.detach(), total_extra
