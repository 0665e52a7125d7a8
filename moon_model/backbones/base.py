"""Interface of a backbone, and the decoder loop that all backbones share.

Relies on transformers' decoder layers (Llama, Qwen2.5-VL; 5.17-5.23) having ``input_layernorm``, ``self_attn``,
``post_attention_layernorm`` and ``mlp``. The loop is ours because a guided FFN needs the segment of each token.

Shape letters: B products, L positions of the padded batch, D hidden size.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend
from torch.utils.checkpoint import checkpoint

from moon_model.configuration_moon import MoonConfig
from moon_model.guided_moe import Guide, GuidedMoE, RouterStats

FUSED_ATTENTION_BACKENDS = [SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]
"""Allowed attention kernels. If none of them supports a batch, torch raises an error instead of using its slow path."""


class Backbone(nn.Module, ABC):
    """A vision tower, a projector and a decoder in which some FFNs are ``GuidedMoE``.

    A subclass sets ``decoder`` (a transformers text model: embed_tokens, layers, rotary_emb, norm) and implements
    ``embed_views`` and ``compute_positions``, which depend on its vision tower.
    """

    decoder: Any  # transformers' text models share no base class that names these parts

    def __init__(self, config: MoonConfig) -> None:
        super().__init__()
        self.causal = config.attention_mask_type == "causal"
        self.image_token_id = config.image_token_id
        self.gradient_checkpointing = False  # switched by PreTrainedModel.gradient_checkpointing_enable

    @abstractmethod
    def embed_views(self, pixel_values: Tensor, image_grid_thw: Tensor | None) -> Tensor:
        """Visual tokens of all views of a batch, in reading order: [sum of tokens, D]."""

    @abstractmethod
    def compute_positions(self, input_ids: Tensor, attention_mask: Tensor, image_grid_thw: Tensor | None) -> Tensor:
        """Position ids for the decoder's rotary embedding: [B, L], or [3, B, L] for multimodal RoPE."""

    def embed(self, input_ids: Tensor, pixel_values: Tensor | None, image_grid_thw: Tensor | None) -> Tensor:
        """Input of the decoder, [B, L, D]: token embeddings, with visual tokens where ``image_token_id`` is.

        Raises:
            ValueError: the number of visual tokens differs from the number of image tokens in ``input_ids``.
        """
        embeds_BLD: Tensor = self.decoder.embed_tokens(input_ids)
        is_image_BL = input_ids == self.image_token_id
        expected = int(is_image_BL.sum())
        if pixel_values is None:
            if expected:
                raise ValueError(f"{expected} image tokens in input_ids, but pixel_values is None")
            return embeds_BLD
        visual = self.embed_views(pixel_values, image_grid_thw)
        if visual.shape[0] != expected:
            raise ValueError(
                f"{expected} image tokens in input_ids, but the views give {visual.shape[0]}; "
                "build both with the same MoonProcessor"
            )
        return embeds_BLD.masked_scatter(is_image_BL[..., None], visual.to(embeds_BLD.dtype))

    def decode(
        self, hidden: Tensor, attention_mask: Tensor, positions: Tensor, guide: Guide
    ) -> tuple[Tensor, list[RouterStats]]:
        """Hidden states [B, L, D] after the final norm, and the router statistics of each MoE layer.

        Args:
            hidden: input embeddings [B, L, D].
            attention_mask: [B, L], 1 at real tokens; padding is on the right.
            positions: see ``compute_positions``.
            guide: the expert of each token.
        """
        rope = self.decoder.rotary_emb(hidden, positions)
        mask = build_attention_bias(attention_mask, self.causal, hidden)
        stats: list[RouterStats] = []
        for layer in self.decoder.layers:
            step = (layer, hidden, mask, rope, self.causal, guide)
            if self.gradient_checkpointing and self.training:
                hidden, layer_stats = checkpoint(run_layer, *step, use_reentrant=False)
            else:
                hidden, layer_stats = run_layer(*step)
            stats += [layer_stats] if layer_stats is not None else []
        return self.decoder.norm(hidden), stats


def run_layer(
    layer: Any, hidden: Tensor, mask: Tensor | None, rope: tuple[Tensor, Tensor], causal: bool, guide: Guide
) -> tuple[Tensor, RouterStats | None]:
    """Hidden states [B, L, D] after one pre-norm decoder layer, and its router statistics (None for a dense FFN)."""
    normed = layer.input_layernorm(hidden)
    attended, _ = layer.self_attn(normed, attention_mask=mask, position_embeddings=rope, is_causal=causal)
    hidden = hidden + attended
    normed = layer.post_attention_layernorm(hidden)
    if isinstance(layer.mlp, GuidedMoE):
        mixed, stats = layer.mlp(normed, guide)
        return hidden + mixed, stats
    return hidden + layer.mlp(normed), None


def build_attention_bias(attention_mask: Tensor, causal: bool, hidden: Tensor) -> Tensor | None:
    """Boolean mask [B, 1, L, L] for SDPA (True: may attend), or None where the kernel's causal flag is enough.

    Args:
        attention_mask: [B, L], 1 at real tokens.
        causal: whether a token attends only to earlier ones.
        hidden: a tensor of the batch, for its device and dtype.
    """
    # In float32 on CUDA the only fused kernel (memory efficient) has no grouped heads; with a mask, transformers
    # repeats the heads itself.
    needs_mask = hidden.is_cuda and hidden.dtype == torch.float32
    keys_BL = attention_mask.bool()
    # With right padding a causal token never attends to a padded one; a bidirectional one does if anything is padded.
    if not needs_mask and (causal or bool(keys_BL.all())):
        return None
    batch, length = keys_BL.shape
    keys_BL = keys_BL.clone()
    keys_BL[:, 0] = True  # a row without real tokens must attend to something, or softmax gives NaN
    allowed_B1LL = keys_BL[:, None, None, :].expand(batch, 1, length, length)
    if causal:
        return allowed_B1LL & torch.ones(length, length, dtype=torch.bool, device=keys_BL.device).tril()
    return allowed_B1LL


def compute_sequential_positions(attention_mask: Tensor) -> Tensor:
    """Position ids 0, 1, 2 … of the real tokens of each row, int64 [B, L]; 0 at padding."""
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)


def install_experts(layers: Any, config: MoonConfig) -> None:
    """Replace the FFN of ``config.moe_layers`` by ``GuidedMoE``; every expert is a copy of the FFN it replaces.

    Nothing is copied on the meta device, nor to experts of another width than the FFN.
    """
    for number in config.moe_layers or []:
        dense = layers[number].mlp
        weight = dense.gate_proj.weight
        moe = GuidedMoE(config).to(device=weight.device, dtype=weight.dtype)
        moe.router.float()  # experts are chosen in float32, whatever the dtype of their weights
        if not weight.is_meta and config.moe_intermediate_size == config.text_config.intermediate_size:
            moe.copy_dense(weight, dense.up_proj.weight, dense.down_proj.weight)
        layers[number].mlp = moe
