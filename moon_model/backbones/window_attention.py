"""Attention of Qwen2.5-VL's vision tower, all windows of one length in one call.

Without FlashAttention, transformers calls attention once a window: 16 windows a view of 448 x 448, 32 layers, so tens
of thousands of small calls a batch, and a GPU waits for the next one most of the time. Most windows have one length.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    Qwen2_5_VLVisionAttention,
    apply_rotary_pos_emb_vision,
)


class WindowAttention(Qwen2_5_VLVisionAttention):
    """Drop-in for transformers' module, with its weights; relies on its forward of transformers 5.17-5.23.

    Args:
        source: whose projections are used from now on.
    """

    def __init__(self, source: Qwen2_5_VLVisionAttention) -> None:
        with torch.device("meta"):  # the projections drawn here are replaced at once
            super().__init__(source.config)
        self.qkv, self.proj = source.qkv, source.proj

    def forward(  # type: ignore[override]  # only what the tower passes
        self, hidden_states: Tensor, cu_seqlens: Tensor, position_embeddings: tuple[Tensor, Tensor], **_: Any
    ) -> Tensor:
        """Patches [P, D] -> [P, D]; window w holds patches ``cu_seqlens[w]`` to ``cu_seqlens[w + 1]`` [W + 1]."""
        patches = hidden_states.shape[0]
        query, key, value = self.qkv(hidden_states).view(patches, 3, self.num_heads, -1).unbind(1)
        query, key = apply_rotary_pos_emb_vision(query, key, *position_embeddings)
        mixed = torch.empty_like(value)
        for rows in group_windows_by_length(cu_seqlens):
            q, k, v = (states[rows].transpose(1, 2) for states in (query, key, value))  # [windows, heads, length, d]
            mixed[rows] = F.scaled_dot_product_attention(q, k, v, scale=self.scaling).transpose(1, 2)
        output: Tensor = self.proj(mixed.view(patches, -1))
        return output


def group_windows_by_length(cu_seqlens: Tensor) -> Iterator[Tensor]:
    """Yield the places int64 [windows, length] of all windows of each length, of cumulated lengths [W + 1]."""
    starts, lengths = cu_seqlens[:-1].long(), cu_seqlens.diff()
    for length in lengths.unique().tolist():
        if length:
            yield starts[lengths == length, None] + torch.arange(length, device=starts.device)
