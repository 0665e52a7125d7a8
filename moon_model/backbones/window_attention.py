"""Attention of Qwen2.5-VL's vision tower that computes all windows of one length in one call.

Without FlashAttention, transformers calls attention once per window: 16 windows for a view of 448 x 448, in 32 layers.
With tens of thousands of small calls a GPU is mostly idle. Most windows have the same length
(docs/decisions/0021-window-attention.md).

Shape letters: P patches of all views, W windows, w windows of one length, l their length, H heads, d head size,
D hidden size.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLVisionAttention, apply_rotary_pos_emb_vision


class WindowAttention(Qwen2_5_VLVisionAttention):
    """Replacement of transformers' module with its weights; relies on its forward of transformers 5.17-5.23.

    Args:
        source: the module whose projections are used.
    """

    def __init__(self, source: Qwen2_5_VLVisionAttention) -> None:
        with torch.device("meta"):  # the projections made here are replaced immediately
            super().__init__(source.config)
        self.qkv = source.qkv
        self.proj = source.proj

    def forward(  # type: ignore[override]  # only what the tower passes
        self, hidden_states: Tensor, cu_seqlens: Tensor, position_embeddings: tuple[Tensor, Tensor], **_: Any
    ) -> Tensor:
        """Patches [P, D] -> [P, D], each mixed with the patches of its window.

        Args:
            hidden_states: [P, D].
            cu_seqlens: [W + 1]; window i holds the patches ``cu_seqlens[i]`` to ``cu_seqlens[i + 1]``.
            position_embeddings: cosines and sines of the rotary embedding, each [P, d].
        """
        patches = hidden_states.shape[0]
        query, key, value = self.qkv(hidden_states).view(patches, 3, self.num_heads, -1).unbind(1)
        query_PHd, key_PHd = apply_rotary_pos_emb_vision(query, key, *position_embeddings)
        mixed_PHd = torch.empty_like(value)
        for rows_wl in group_windows_by_length(cu_seqlens):
            q_wHld, k_wHld, v_wHld = (states[rows_wl].transpose(1, 2) for states in (query_PHd, key_PHd, value))
            mixed_wHld = F.scaled_dot_product_attention(q_wHld, k_wHld, v_wHld, scale=self.scaling)
            mixed_PHd[rows_wl] = mixed_wHld.transpose(1, 2)
        output: Tensor = self.proj(mixed_PHd.view(patches, -1))
        return output


def group_windows_by_length(cu_seqlens: Tensor) -> Iterator[Tensor]:
    """Yield, for each length that occurs, the patch indices of all windows of that length, int64 [w, l].

    Args:
        cu_seqlens: start of each window and the end of the last, [W + 1]; empty windows are left out.
    """
    starts = cu_seqlens[:-1].long()
    lengths = cu_seqlens.diff()
    for length in lengths.unique().tolist():
        if length:
            yield starts[lengths == length, None] + torch.arange(length, device=starts.device)
