"""SmolLM2 cut to moon-tiny's decoder: fewer rows, layers and FFN channels, then whitened outputs.

Everything here is closed-form and provisional: training starts from it.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from moon_model.backbones.compact import CompactBackbone
from moon_model.guided_moe import GuidedMoE
from moon_model.modeling_moon import MoonModel
from moon_model.tokenization import SEPARATOR, START

_BYTES = slice(17, 252)
"""SmolLM2's rows of single bytes."""
_START_ROW = 1
_NEWLINE = "Ċ"
_WHITENING_FLOOR = 0.1
"""Share of the largest standard deviation added to each: weak axes are mostly noise, of bfloat16 not least."""


def compact_backbone(model: MoonModel) -> CompactBackbone:
    """Return the model's backbone, which must be the compact one (TypeError)."""
    if not isinstance(model.backbone, CompactBackbone):
        raise TypeError(f"this works on a compact backbone, not on {type(model.backbone).__name__}")
    return model.backbone


def cut_embedding(weight: Tensor, rows: Sequence[int | None], vocabulary: Mapping[str, int]) -> Tensor:
    """Keep the embeddings of the cut vocabulary, [len(rows), D].

    The start token takes ``<|im_start|>``'s row and the separator the newline's; bytes that SmolLM2 lacks take the
    mean of the others; special tokens stay zero.
    """
    cut = torch.stack([weight[_BYTES].mean(0) if row is None else weight[row] for row in rows])
    cut[:8] = 0.0
    cut[START] = weight[_START_ROW]
    cut[SEPARATOR] = weight[vocabulary[_NEWLINE]]
    return cut


def strongest_channels(weights: Mapping[str, Tensor], prefix: str, width: int) -> Tensor:
    """Choose FFN channels by the product of the norms of their gate, up and down weights, int64 [width]."""
    strength = weights[f"{prefix}down_proj.weight"].norm(dim=0)
    for name in ("gate_proj", "up_proj"):
        strength = strength * weights[f"{prefix}{name}.weight"].norm(dim=1)
    return strength.topk(width).indices.sort().values


@torch.no_grad()
def fill_decoder(model: MoonModel, weights: Mapping[str, Tensor], embedding: Tensor) -> None:
    """Fill a compact model's decoder with the first layers of SmolLM2, FFNs cut to the config's width.

    Norm weights are folded into the matrices behind them (norms become plain divisions by the length), so that the
    hidden space may be rotated. Every expert of a guided layer starts as a copy of its dense FFN.
    """
    decoder = compact_backbone(model).decoder
    decoder.embed_tokens.weight.copy_(embedding)
    for number, layer in enumerate(decoder.layers):
        source = f"layers.{number}."
        before = weights[f"{source}input_layernorm.weight"]
        for name in ("q_proj", "k_proj", "v_proj"):
            getattr(layer.self_attn, name).weight.copy_(weights[f"{source}self_attn.{name}.weight"] * before)
        layer.self_attn.o_proj.weight.copy_(weights[f"{source}self_attn.o_proj.weight"])
        keep = strongest_channels(weights, f"{source}mlp.", model.config.text_config.intermediate_size)
        between = weights[f"{source}post_attention_layernorm.weight"]
        gate, up = (weights[f"{source}mlp.{name}.weight"][keep] * between for name in ("gate_proj", "up_proj"))
        down = weights[f"{source}mlp.down_proj.weight"][:, keep]
        if isinstance(layer.mlp, GuidedMoE):
            layer.mlp.copy_dense(gate, up, down)
        else:
            for name, value in (("gate_proj", gate), ("up_proj", up), ("down_proj", down)):
                getattr(layer.mlp, name).weight.copy_(value)
        for norm in (layer.input_layernorm, layer.post_attention_layernorm):
            norm.weight.fill_(1.0)
    decoder.norm.weight.fill_(1.0)


def whitening(pooled: Tensor) -> tuple[Tensor, Tensor]:
    """Find the rotation and scales that make mean-pooled outputs spread evenly.

    A language model's pooled states share one large direction and vary along few others, so that all cosines are
    near 1. In the basis of (mean direction, principal axes of the rest) the first axis gets scale 0 and each other
    one the inverse of its standard deviation.

    Args:
        pooled: mean-pooled hidden states of typical texts, [N, D], N > D.

    Returns:
        Rotation [D, D] (rows are the new axes) and scales [D] of the final norm.
    """
    pooled = pooled.double()
    mean = pooled.mean(0) / pooled.mean(0).norm()
    rest = pooled - torch.outer(pooled @ mean, mean)
    _, spread, axes = torch.linalg.svd(rest, full_matrices=False)
    spread, axes = spread[:-1] / len(pooled) ** 0.5, axes[:-1]  # the last axis is the mean direction itself
    axes = axes - torch.outer(axes @ mean, mean)
    scales = 1.0 / (spread + _WHITENING_FLOOR * spread[0])
    scales = scales / scales.norm() * len(scales) ** 0.5
    return torch.cat([mean[None], axes]).float(), torch.cat([scales.new_zeros(1), scales]).float()


@torch.no_grad()
def rotate(model: MoonModel, rotation: Tensor, scales: Tensor) -> None:
    """Express the hidden space in new axes and set the final norm's scales.

    With folded norms the model computes the same function in any orthonormal basis: whatever reads the hidden
    state is multiplied by the rotation from behind, whatever writes it from the front.
    """
    backbone = compact_backbone(model)
    decoder, projected = backbone.decoder, backbone.projector.fc2
    readers: list[Tensor] = [decoder.embed_tokens.weight]
    writers: list[Tensor] = [projected.weight]
    for layer in decoder.layers:
        readers += [getattr(layer.self_attn, name).weight for name in ("q_proj", "k_proj", "v_proj")]
        writers.append(layer.self_attn.o_proj.weight)
        if isinstance(layer.mlp, GuidedMoE):
            readers += [layer.mlp.gate_up_proj, layer.mlp.router.weight]
            writers.append(layer.mlp.down_proj)
        else:
            readers += [layer.mlp.gate_proj.weight, layer.mlp.up_proj.weight]
            writers.append(layer.mlp.down_proj.weight)
    for weight in readers:
        weight.copy_(weight @ rotation.T)
    for weight in writers:
        weight.copy_(rotation @ weight)
    projected.bias.copy_(rotation @ projected.bias)
    decoder.norm.weight.copy_(scales)
