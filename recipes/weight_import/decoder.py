"""moon-tiny's decoder, cut from SmolLM2: fewer token rows, layers and FFN channels, in the text teacher's space.

The row of a token is all-MiniLM-L6-v2's vector of the token's text, so the mean of a title's rows is a usable text
vector before training (as in Model2Vec). SmolLM2's layers use another hidden space: two ridge regressions between its
rows and the new rows give the linear maps that convert the layers' weights. The layers' outputs are scaled to be small
at first. All steps have closed forms; training starts from the result.

Shape suffixes: R token rows, D hidden dimensions, I FFN channels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from moon_model.backbones.compact import CompactBackbone
from moon_model.guided_moe import GuidedMoE
from moon_model.modeling_moon import MoonModel
from moon_model.tokenization import SEPARATOR_ID, SPECIAL_TOKENS, START_ID

CONTENT_NORM = 0.8
"""Length of a token row in the text teacher's dimensions; the last dimension brings the length of the row to 1."""
INITIAL_OUTPUT_SCALE = 0.1
"""RMS of a layer's initial output relative to its input."""

_BYTE_ROWS = slice(17, 252)  # SmolLM2's rows of single bytes
_START_ROW = 1  # <|im_start|>
_NEWLINE = "Ċ"
_RIDGE = 1e-3


def get_compact_backbone(model: MoonModel) -> CompactBackbone:
    """Return the model's compact backbone.

    Raises:
        TypeError: it has another backbone.
    """
    if not isinstance(model.backbone, CompactBackbone):
        raise TypeError(f"this works on a compact backbone, not on {type(model.backbone).__name__}")
    return model.backbone


def cut_embedding(weight: Tensor, rows: Sequence[int | None], vocabulary: Mapping[str, int]) -> Tensor:
    """Return SmolLM2's embeddings of the tokens of the cut vocabulary, [R, D].

    The start token has the row of ``<|im_start|>`` and the separator that of the newline. Bytes that SmolLM2 lacks have
    the mean of the other bytes. The other special tokens are zero.

    Args:
        weight: SmolLM2's embedding matrix.
        rows: row of each token in it; None: SmolLM2 has no such token.
        vocabulary: SmolLM2's rows by token.
    """
    cut_rd = torch.stack([weight[_BYTE_ROWS].mean(0) if row is None else weight[row] for row in rows])
    cut_rd[: len(SPECIAL_TOKENS)] = 0.0
    cut_rd[START_ID] = weight[_START_ROW]
    cut_rd[SEPARATOR_ID] = weight[vocabulary[_NEWLINE]]
    return cut_rd


def select_channels(weights: Mapping[str, Tensor], prefix: str, width: int) -> Tensor:
    """Return the FFN channels with the largest product of gate, up and down norms, int64 [width], ascending."""
    strength_i: Tensor = weights[f"{prefix}down_proj.weight"].norm(dim=0)
    for name in ("gate_proj", "up_proj"):
        strength_i = strength_i * weights[f"{prefix}{name}.weight"].norm(dim=1)
    return strength_i.topk(width).indices.sort().values


def build_token_rows(vectors: Tensor, dimension: int) -> Tensor:
    """Return the embedding matrix float32 [R, D] for the text teacher's vectors [R, T] of all tokens; rows have norm 1.

    The last dimension is not part of the output, because the final norm's weight there is 0. That norm gives all
    hidden states the same length, so a token with little meaning can have its length in that dimension.
    """
    rows_rd = torch.zeros(len(vectors), dimension)
    rows_rd[:, : vectors.shape[1]] = CONTENT_NORM * vectors
    rows_rd[:, -1] = (1.0 - rows_rd.square().sum(1)).clamp(min=0).sqrt()
    return rows_rd


@dataclass(frozen=True)
class LinearMap:
    """The linear maps between SmolLM2's hidden space (old) and moon-tiny's (new).

    Attributes:
        read: float32 [D, D], old = read @ new for normalised states; for weights that read the hidden states.
        write: float32 [D, D], new = write @ old; for weights that write to the hidden states.
    """

    read: Tensor
    write: Tensor

    @classmethod
    def fit(cls, old: Tensor, new: Tensor) -> "LinearMap":
        """Return the maps between two embedding matrices [R, D] of the same tokens."""
        old_rd = old.double()
        new_rd = new.double()
        # Layers read states that are divided by their RMS, but write to states that are not.
        old_normed, new_normed = (
            rows / rows.square().mean(1, keepdim=True).sqrt().clamp(min=1e-6) for rows in (old_rd, new_rd)
        )
        read = solve_ridge(new_normed, old_normed, _RIDGE)
        write = solve_ridge(old_rd, new_rd, _RIDGE)
        return cls(read.float(), write.float())


def solve_ridge(inputs: Tensor, targets: Tensor, ridge: float) -> Tensor:
    """Return W [B, A] that minimises |inputs @ W.T - targets|² with a ridge penalty.

    Args:
        inputs: [N, A].
        targets: [N, B].
        ridge: penalty as a share of the mean diagonal element of the Gram matrix.
    """
    gram = inputs.T @ inputs
    gram.diagonal().add_(ridge * gram.diagonal().mean())
    weights_AB: Tensor = torch.linalg.solve(gram, inputs.T @ targets)
    return weights_AB.T


@torch.no_grad()
def fill_decoder(model: MoonModel, weights: Mapping[str, Tensor], rows: Tensor, linear_map: LinearMap) -> None:
    """Fill a compact model's decoder with token rows and SmolLM2's first layers.

    The FFNs are cut to the configured width. The weights of norms are multiplied into the matrices after them, so that
    norms only divide by the RMS and the hidden space may be changed.

    Args:
        model: compact model.
        weights: SmolLM2's weights by name.
        rows: embedding matrix [R, D], see `build_token_rows`.
        linear_map: maps into the space of ``rows``.
    """
    decoder = get_compact_backbone(model).decoder
    # 1. The token rows.
    decoder.embed_tokens.weight.copy_(rows)
    for number, layer in enumerate(decoder.layers):
        source = f"layers.{number}."
        # 2. Attention. Queries, keys and values read the hidden states, the output projection writes to them.
        norm_d = weights[f"{source}input_layernorm.weight"]
        for name in ("q_proj", "k_proj", "v_proj"):
            weight = weights[f"{source}self_attn.{name}.weight"] * norm_d @ linear_map.read
            getattr(layer.self_attn, name).weight.copy_(weight)
        layer.self_attn.o_proj.weight.copy_(linear_map.write @ weights[f"{source}self_attn.o_proj.weight"])
        # 3. The FFN's strongest channels. Gate and up read, down writes.
        keep = select_channels(weights, f"{source}mlp.", model.config.text_config.intermediate_size)
        norm_d = weights[f"{source}post_attention_layernorm.weight"]
        gate_id, up_id = (
            weights[f"{source}mlp.{name}.weight"][keep] * norm_d @ linear_map.read for name in ("gate_proj", "up_proj")
        )
        down_di = linear_map.write @ weights[f"{source}mlp.down_proj.weight"][:, keep]
        # 4. In a guided layer every expert starts as a copy of this FFN.
        if isinstance(layer.mlp, GuidedMoE):
            layer.mlp.copy_dense(gate_id, up_id, down_di)
        else:
            for name, value in (("gate_proj", gate_id), ("up_proj", up_id), ("down_proj", down_di)):
                getattr(layer.mlp, name).weight.copy_(value)
        # 5. Set the norms' weights to 1: they are now part of the matrices.
        for norm in (layer.input_layernorm, layer.post_attention_layernorm):
            norm.weight.fill_(1.0)
    # 6. The final norm removes the last dimension from the output.
    decoder.norm.weight.fill_(1.0)
    decoder.norm.weight[-1] = 0.0


@torch.no_grad()
def scale_outputs(model: MoonModel, batch: Mapping[str, Tensor]) -> None:
    """Scale the outputs of each layer's attention and FFN to `INITIAL_OUTPUT_SCALE` of the hidden states' RMS.

    Args:
        model: compact model.
        batch: texts, as the processor makes it.
    """
    for layer in get_compact_backbone(model).decoder.layers:
        down = layer.mlp.down_proj if isinstance(layer.mlp, GuidedMoE) else layer.mlp.down_proj.weight
        for part, output_weight in ((layer.self_attn, layer.self_attn.o_proj.weight), (layer.mlp, down)):
            output_weight.mul_(INITIAL_OUTPUT_SCALE / max(_measure_activation_norm(model, layer, part, batch), 1e-6))


def _measure_activation_norm(model: MoonModel, layer: Any, part: nn.Module, batch: Mapping[str, Tensor]) -> float:
    """Return the RMS of a layer part's output relative to the RMS of the layer's input, over tokens of texts."""
    rms: dict[str, Tensor] = {}

    def record(name: str, value: Tensor) -> None:
        rms[name] = value[batch["segment_ids"] > 0].float().square().mean().sqrt()

    hooks = [
        layer.input_layernorm.register_forward_hook(lambda _, inputs, __: record("input", inputs[0])),
        part.register_forward_hook(
            lambda _, __, output: record("output", output[0] if isinstance(output, tuple) else output)
        ),
    ]
    model(**batch)
    for hook in hooks:
        hook.remove()
    return float(rms["output"] / rms["input"])
