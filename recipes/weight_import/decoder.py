"""SmolLM2 cut to moon-tiny's decoder: fewer rows, layers and FFN channels, in the space of the text teacher.

A token's row is what all-MiniLM-L6-v2 makes of its text alone, so the mean of a title's rows is a fair text vector
before any layer has learned a thing (Model2Vec does the same). SmolLM2's layers know another space: they are carried
over by regressing its rows on the new ones and back, and write softly at first. Everything here is closed-form;
training starts from it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from moon_model.backbones.compact import CompactBackbone
from moon_model.guided_moe import GuidedMoE
from moon_model.modeling_moon import MoonModel
from moon_model.tokenization import SEPARATOR_ID, START_ID

_BYTES = slice(17, 252)
"""SmolLM2's rows of single bytes."""
_START_ROW = 1
_NEWLINE = "Ċ"
CONTENT_NORM = 0.8
"""Share of a new row's length that says something; the rest lies in the silent dimension."""
_RIDGE = 1e-3
INITIAL_OUTPUT_SCALE = 0.1
"""What a layer may change at first, as a share of the hidden states' size."""


def get_compact_backbone(model: MoonModel) -> CompactBackbone:
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
    cut[START_ID] = weight[_START_ROW]
    cut[SEPARATOR_ID] = weight[vocabulary[_NEWLINE]]
    return cut


def select_channels(weights: Mapping[str, Tensor], prefix: str, width: int) -> Tensor:
    """Choose FFN channels by the product of the norms of their gate, up and down weights, int64 [width]."""
    strength = weights[f"{prefix}down_proj.weight"].norm(dim=0)
    for name in ("gate_proj", "up_proj"):
        strength = strength * weights[f"{prefix}{name}.weight"].norm(dim=1)
    indices: Tensor = strength.topk(width).indices
    return indices.sort().values


def build_token_rows(vectors: Tensor, dimension: int) -> Tensor:
    """Make the embedding matrix from the text teacher's vectors of all tokens [rows, T]: float32 [rows, dimension].

    The last dimension is silent: the final norm's weight there is 0. Since that norm makes all hidden states equally
    long, it is where a token that says little puts its length, as training will find.
    """
    rows = torch.zeros(len(vectors), dimension)
    rows[:, : vectors.shape[1]] = CONTENT_NORM * vectors
    rows[:, -1] = (1.0 - rows.square().sum(1)).clamp(min=0).sqrt()
    return rows


@dataclass(frozen=True)
class LinearMap:
    """From SmolLM2's hidden space to ours: ``old = there @ new`` of normed states, ``new = back @ old``.

    Attributes:
        read: for what reads a hidden state, float32 [D, D].
        back: for what writes one, float32 [D, D].
    """

    read: Tensor
    back: Tensor

    @classmethod
    def fit(cls, old: Tensor, new: Tensor) -> "LinearMap":
        """Regress the rows of two embedding matrices [rows, D] of the same tokens on each other."""
        old, new = old.double(), new.double()
        normed = [one / one.square().mean(1, keepdim=True).sqrt().clamp(min=1e-6) for one in (old, new)]
        return cls(_ridge(normed[1], normed[0]), _ridge(old, new))


def _ridge(source: Tensor, target: Tensor) -> Tensor:
    """The matrix that takes rows of ``source`` to rows of ``target``, to be applied from the left to a column."""
    gram = source.T @ source
    gram.diagonal().add_(_RIDGE * gram.diagonal().mean())
    solution: Tensor = torch.linalg.solve(gram, source.T @ target)
    return solution.T.float()


@torch.no_grad()
def fill_decoder(model: MoonModel, weights: Mapping[str, Tensor], rows: Tensor, linear_map: LinearMap) -> None:
    """Fill a compact model's decoder with token rows and the first layers of SmolLM2, FFNs cut to the config's width.

    Norm weights are folded into the matrices behind them (norms become plain divisions by the length), so that the
    hidden space may be changed. Every expert of a guided layer starts as a copy of its dense FFN.

    Args:
        model: compact.
        weights: SmolLM2's.
        rows: embedding matrix, see `build_token_rows`.
        linear_map: into the space of ``rows``.
    """
    decoder = get_compact_backbone(model).decoder
    decoder.embed_tokens.weight.copy_(rows)
    for number, layer in enumerate(decoder.layers):
        source = f"layers.{number}."
        before = weights[f"{source}input_layernorm.weight"]
        for name in ("q_proj", "k_proj", "v_proj"):
            getattr(layer.self_attn, name).weight.copy_(
                weights[f"{source}self_attn.{name}.weight"] * before @ linear_map.read
            )
        layer.self_attn.o_proj.weight.copy_(linear_map.back @ weights[f"{source}self_attn.o_proj.weight"])
        keep = select_channels(weights, f"{source}mlp.", model.config.text_config.intermediate_size)
        between = weights[f"{source}post_attention_layernorm.weight"]
        gate, up = (
            weights[f"{source}mlp.{name}.weight"][keep] * between @ linear_map.read for name in ("gate_proj", "up_proj")
        )
        down = linear_map.back @ weights[f"{source}mlp.down_proj.weight"][:, keep]
        if isinstance(layer.mlp, GuidedMoE):
            layer.mlp.copy_dense(gate, up, down)
        else:
            for name, value in (("gate_proj", gate), ("up_proj", up), ("down_proj", down)):
                getattr(layer.mlp, name).weight.copy_(value)
        for norm in (layer.input_layernorm, layer.post_attention_layernorm):
            norm.weight.fill_(1.0)
    decoder.norm.weight.fill_(1.0)
    decoder.norm.weight[-1] = 0.0


@torch.no_grad()
def scale_outputs(model: MoonModel, batch: Mapping[str, Tensor]) -> None:
    """Scale the outputs of attention and FFN of every layer to `INITIAL_OUTPUT_SCALE` of the hidden states' norm.

    Args:
        model: compact.
        batch: of texts, as the processor makes it.
    """
    for layer in get_compact_backbone(model).decoder.layers:
        down = layer.mlp.down_proj if isinstance(layer.mlp, GuidedMoE) else layer.mlp.down_proj.weight
        for part, writer in ((layer.self_attn, layer.self_attn.o_proj.weight), (layer.mlp, down)):
            writer.mul_(INITIAL_OUTPUT_SCALE / max(_activation_norm(model, layer, part, batch), 1e-6))


def _activation_norm(model: MoonModel, layer: Any, part: nn.Module, batch: Mapping[str, Tensor]) -> float:
    """Size of what a part of a layer writes, as a share of the size of the states that the layer is given."""
    seen: dict[str, Tensor] = {}

    def note(name: str, value: Tensor) -> None:
        seen[name] = value[batch["segment_ids"] > 0].float().square().mean().sqrt()

    hooks = [
        layer.input_layernorm.register_forward_hook(lambda _, given, __: note("given", given[0])),
        part.register_forward_hook(lambda _, __, made: note("made", made[0] if isinstance(made, tuple) else made)),
    ]
    model(**batch)
    for hook in hooks:
        hook.remove()
    return float(seen["made"] / seen["given"])
