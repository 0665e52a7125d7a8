"""What every backbone offers, and the decoder loop they share.

Relies on transformers' decoder layers (Llama, Qwen2.5-VL; 5.17-5.23) having ``input_layernorm``, ``self_attn``,
``post_attention_layernorm`` and ``mlp``. The loop is ours because a guided FFN needs to know each token's segment.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend
from torch.utils.checkpoint import checkpoint

from moon_model.configuration_moon import MoonConfig
from moon_model.guided_moe import Guide, GuidedMoE, RouterStats

# Fused kernels only: where none of them takes a batch, torch raises instead of falling back to its slow path.
FUSED_ATTENTION_BACKENDS = [SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]


class Backbone(nn.Module, ABC):
    """A vision tower, a projector and a decoder whose chosen FFNs are ``GuidedMoE``.

    A subclass sets ``decoder`` (a transformers text model: embed_tokens, layers, rotary_emb, norm) and
    implements the two methods that depend on how it sees images.
    """

    decoder: Any  # transformers' text models share no base class that names these parts

    def __init__(self, config: MoonConfig) -> None:
        super().__init__()
        self.causal = config.attention_mask_type == "causal"
        self.image_token_id = config.image_token_id
        self.gradient_checkpointing = False  # switched by PreTrainedModel.gradient_checkpointing_enable

    @abstractmethod
    def embed_views(self, pixel_values: Tensor, image_grid_thw: Tensor | None) -> Tensor:
        """Encode all views of a batch, in reading order, to visual tokens [sum of tokens, D]."""

    @abstractmethod
    def positions(self, input_ids: Tensor, attention_mask: Tensor, image_grid_thw: Tensor | None) -> Tensor:
        """Position ids for the decoder's rotary embedding: [B, L], or [3, B, L] for multimodal RoPE."""

    def embed(self, input_ids: Tensor, pixel_values: Tensor | None, image_grid_thw: Tensor | None) -> Tensor:
        """Token embeddings [B, L, D] with the visual tokens put where ``image_token_id`` stands.

        Raises ValueError when the number of visual tokens differs from the number of places.
        """
        embeds: Tensor = self.decoder.embed_tokens(input_ids)
        places = input_ids == self.image_token_id
        if pixel_values is None:
            if bool(places.any()):
                raise ValueError(f"{int(places.sum())} image tokens in input_ids, but pixel_values is None")
            return embeds
        views = self.embed_views(pixel_values, image_grid_thw)
        if views.shape[0] != int(places.sum()):
            raise ValueError(
                f"{int(places.sum())} image tokens in input_ids, but the views give {views.shape[0]}; "
                "build both with the same MoonProcessor"
            )
        return embeds.masked_scatter(places[..., None], views.to(embeds.dtype))

    def decode(
        self, hidden: Tensor, attention_mask: Tensor, positions: Tensor, guide: Guide
    ) -> tuple[Tensor, list[RouterStats]]:
        """Run the decoder over embeddings [B, L, D]; returns normed hidden states and each MoE layer's stats."""
        rope = self.decoder.rotary_emb(hidden, positions)
        mask = build_attention_bias(attention_mask, self.causal, hidden)
        stats: list[RouterStats] = []
        for layer in self.decoder.layers:
            step = (layer, hidden, mask, rope, self.causal, guide)
            if self.gradient_checkpointing and self.training:
                hidden, one = checkpoint(run_layer, *step, use_reentrant=False)
            else:
                hidden, one = run_layer(*step)
            stats += [one] if one is not None else []
        return self.decoder.norm(hidden), stats


def run_layer(
    layer: Any,
    hidden: Tensor,
    mask: Tensor | None,
    rope: tuple[Tensor, Tensor],
    causal: bool,
    guide: Guide,
) -> tuple[Tensor, RouterStats | None]:
    """One pre-norm decoder layer of transformers, its FFN dense or guided."""
    attended, _ = layer.self_attn(
        hidden_states=layer.input_layernorm(hidden),
        attention_mask=mask,
        position_ids=None,
        past_key_values=None,
        position_embeddings=rope,
        is_causal=causal,
    )
    hidden = hidden + attended
    normed = layer.post_attention_layernorm(hidden)
    if isinstance(layer.mlp, GuidedMoE):
        mixed, stats = layer.mlp(normed, guide)
        return hidden + mixed, stats
    return hidden + layer.mlp(normed), None


def build_attention_bias(attention_mask: Tensor, causal: bool, hidden: Tensor) -> Tensor | None:
    """Boolean mask [B, 1, L, L] for SDPA (True: may look), or None when the kernel's own rule is enough.

    Behind right padding a causal token never sees a padded one, so the flash kernel's causal flag does; a
    bidirectional batch needs a mask only if something is padded. A float32 batch on CUDA always gets one: there
    the only fused kernel (memory efficient) does not do grouped heads, and a mask makes transformers repeat them.
    """
    masked = hidden.is_cuda and hidden.dtype == torch.float32
    keys = attention_mask.bool()
    if not masked and (causal or bool(keys.all())):
        return None
    batch, length = keys.shape
    keys = keys.clone()
    keys[:, 0] = True  # an empty row must look at something, or softmax gives NaN
    allowed = keys[:, None, None, :].expand(batch, 1, length, length)
    if causal:
        return allowed & torch.ones(length, length, dtype=torch.bool, device=keys.device).tril()
    return allowed


def compute_sequential_positions(attention_mask: Tensor) -> Tensor:
    """0, 1, 2 … over the real tokens of each row, int64 [B, L]; 0 at padding."""
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)


def install_experts(layers: Any, config: MoonConfig) -> None:
    """Replace the FFN of ``config.moe_layers`` by ``GuidedMoE``, every expert a copy of the FFN it replaces.

    On the meta device, and for experts of another width than the FFN, nothing is copied.
    """
    for number in config.moe_layers or []:
        dense = layers[number].mlp
        weight = dense.gate_proj.weight
        moe = GuidedMoE(config).to(device=weight.device, dtype=weight.dtype)
        moe.router.float()  # routing is decided in float32, whatever the experts' dtype
        if not weight.is_meta and config.moe_intermediate_size == config.text_config.intermediate_size:
            moe.copy_dense(weight, dense.up_proj.weight, dense.down_proj.weight)
        layers[number].mlp = moe
