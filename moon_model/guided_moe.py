"""Guided mixture of experts: the FFN of a decoder layer, split by where a token comes from (paper, fig. 2).

N experts = N-2 general FFNs under a learned top-k router + FFN_cate + FFN_attr. A category token goes to
FFN_cate, an attribute token to FFN_attr, every other token to its k best general experts. Padding reaches none.

Relies on ``torch.nn.functional.grouped_mm`` (torch 2.10 and later; CPU and CUDA from compute capability 8.0);
where its alignment rule or the device rules it out, a loop over experts does the same.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.activations import ACT2FN

from moon_model.configuration_moon import MoonConfig, Segment

UNGUIDED = -1


@dataclass(frozen=True)
class Guide:
    """The real tokens of a padded batch and the expert that each is guided to; one serves every MoE layer.

    Attributes:
        index: Positions of the T real tokens in the flattened batch, int64 [T]; None when nothing is padded.
        expert: FFN_cate, FFN_attr or ``UNGUIDED`` for each real token, int64 [T].
        guided: How many of them are guided (kept as a number so that no layer has to wait for the device).
    """

    index: Tensor | None
    expert: Tensor
    guided: int

    @classmethod
    def build(cls, attention_mask: Tensor, segment_ids: Tensor, num_experts: int) -> "Guide":
        """Read the guide from ``attention_mask`` and ``segment_ids``, both [B, L]."""
        real = attention_mask.reshape(-1).bool()
        segments = segment_ids.reshape(-1)
        index = None if bool(real.all()) else real.nonzero().squeeze(-1)
        segments = segments if index is None else segments[index]
        expert = torch.full_like(segments, UNGUIDED)
        expert = expert.masked_fill(segments == Segment.CATEGORY, num_experts - 2)
        expert = expert.masked_fill(segments == Segment.ATTRIBUTE, num_experts - 1)
        return cls(index, expert, int((expert != UNGUIDED).sum()))


@dataclass(frozen=True)
class RouterStats:
    """What the routers did with one batch.

    Attributes:
        tokens_per_expert: int64 [N] for one layer, [MoE layers, N] for a model; a token under top-k counts k
            times. The last two columns are FFN_cate and FFN_attr.
        balance_loss: float32 scalar, mean over layers: Switch Transformers' load-balance loss (eq. 4) over
            the general experts; 1 when routing is even, up to N-2 when one expert takes all, 0 without tokens.
    """

    tokens_per_expert: Tensor
    balance_loss: Tensor

    @classmethod
    def stack(cls, layers: list["RouterStats"], like: Tensor, num_experts: int) -> "RouterStats":
        """Join the statistics of all MoE layers; an empty list gives no rows and a loss of 0."""
        if not layers:
            return cls(like.new_zeros(0, num_experts, dtype=torch.long), like.new_zeros((), dtype=torch.float32))
        losses = torch.stack([layer.balance_loss for layer in layers])
        return cls(torch.stack([layer.tokens_per_expert for layer in layers]), losses.mean())


class GuidedMoE(nn.Module):
    """Drop-in for a gated FFN (SwiGLU): hidden states [B, L, D] and a ``Guide`` in, [B, L, D] out.

    Experts are stored stacked, general ones first, then FFN_cate (N-2) and FFN_attr (N-1):
    ``gate_up_proj`` [N, 2I, D] (gate rows above up rows), ``down_proj`` [N, D, I]; ``router.weight`` [N-2, D].
    """

    def __init__(self, config: MoonConfig) -> None:
        super().__init__()
        size, width, total = config.hidden_size, config.moe_intermediate_size, config.num_experts
        assert width is not None  # noqa: S101  # resolved by MoonConfig
        self.num_experts = total
        self.top_k = config.num_experts_per_token
        self.soft_weight = config.soft_guidance_weight if config.guidance == "soft" else None
        self.router_score = config.router_score
        self.router = nn.Linear(size, total - 2, bias=False)
        self.gate_up_proj = nn.Parameter(torch.empty(total, 2 * width, size))
        self.down_proj = nn.Parameter(torch.empty(total, size, width))
        self.act_fn = ACT2FN[config.text_config.hidden_act]
        self.reset_parameters(config.initializer_range)

    @torch.no_grad()
    def reset_parameters(self, std: float) -> None:
        """Draw router and experts from N(0, std); ``copy_dense`` overwrites the experts."""
        for weight in (self.router.weight, self.gate_up_proj, self.down_proj):
            nn.init.normal_(weight, std=std)  # nn.init, because transformers guards it for weights already loaded

    @torch.no_grad()
    def copy_dense(self, gate: Tensor, up: Tensor, down: Tensor) -> None:
        """Make every expert a copy of a dense FFN: gate, up [I, D] and down [D, I].

        With copies the layer computes what the dense FFN did, whatever the router says, because the gates sum
        to 1. Raises ValueError when the widths differ: a copy then does not exist.
        """
        if gate.shape != up.shape or 2 * gate.shape[0] != self.gate_up_proj.shape[1]:
            raise ValueError(
                f"experts of width {self.gate_up_proj.shape[1] // 2} cannot copy a dense FFN of width "
                f"{gate.shape[0]}; set MoonConfig.moe_intermediate_size to it, or None"
            )
        self.gate_up_proj.copy_(torch.cat([gate, up]).expand_as(self.gate_up_proj))
        self.down_proj.copy_(down.expand_as(self.down_proj))

    @torch.no_grad()
    def perturb(self, share: float, seed: int) -> None:
        """Add N(0, share · std of the weight) to every expert, so that copies can grow apart.

        The noise is drawn on the CPU in float32: the same seed gives the same experts on every device.
        """
        generator = torch.Generator().manual_seed(seed)
        for weight in (self.gate_up_proj, self.down_proj):
            noise = torch.randn(weight.shape, generator=generator)
            scale = share * weight.float().std()
            weight.add_((noise.to(weight.device) * scale).to(weight.dtype))

    def forward(self, hidden: Tensor, guide: Guide) -> tuple[Tensor, RouterStats]:
        """Return the mixed expert outputs [B, L, D] (zeros at padding) and this layer's statistics."""
        flat = hidden.reshape(-1, hidden.shape[-1])
        tokens = flat if guide.index is None else flat[guide.index]  # [T, D]
        with torch.autocast(tokens.device.type, enabled=False):
            experts, gates, balance_loss = self._route(tokens, guide)
        counts = torch.bincount(experts.reshape(-1), minlength=self.num_experts + 1)[: self.num_experts]
        unused = guide.guided * (self.top_k - 1) if self.soft_weight is None else len(tokens) - guide.guided
        order = torch.sort(experts.reshape(-1), stable=True).indices[: experts.numel() - unused]
        mixed = self._mix(tokens, gates, order, counts)
        if guide.index is not None:
            mixed = torch.zeros_like(flat).index_copy(0, guide.index, mixed)
        return mixed.view_as(hidden), RouterStats(counts, balance_loss)

    def _route(self, tokens: Tensor, guide: Guide) -> tuple[Tensor, Tensor, Tensor]:
        """Choose experts int64 [T, K] and their gates float32 [T, K], and compute the balance loss.

        K is k in hard mode, where a guided token uses one slot only, and k + 1 in soft mode, where the last slot is
        for guided tokens. Unused slots hold expert N and gate 0.
        """
        logits = F.linear(tokens.float(), self.router.weight.float())  # [T, N-2]
        scores = logits.softmax(-1) if self.router_score == "softmax" else logits.sigmoid()
        ranked, ranking = scores.sort(dim=-1, descending=True, stable=True)  # ties: the lower expert first
        experts, gates = ranking[:, : self.top_k], ranked[:, : self.top_k]
        gates = gates / gates.sum(-1, keepdim=True).clamp(min=torch.finfo(gates.dtype).tiny)
        guided = guide.expert != UNGUIDED
        target = torch.where(guided, guide.expert, self.num_experts)[:, None]
        if self.soft_weight is None:
            loss = _balance_loss(scores, experts, ~guided)
            alone = torch.eye(1, self.top_k, dtype=torch.bool, device=gates.device)  # the first slot
            experts = torch.where(guided[:, None], torch.where(alone, target, self.num_experts), experts)
            return experts, torch.where(guided[:, None], alone.to(gates.dtype), gates), loss
        share = (guided * self.soft_weight)[:, None].to(gates.dtype)
        loss = _balance_loss(scores, experts, torch.ones_like(guided))
        return torch.cat([experts, target], 1), torch.cat([gates * (1 - share), share], 1), loss

    def _mix(self, tokens: Tensor, gates: Tensor, order: Tensor, counts: Tensor) -> Tensor:
        """Run the (token, expert) pairs of ``order``, sorted by expert, and sum each token's weighted outputs.

        Sums in float32, slot by slot, so that the result does not depend on the order of the batch.
        """
        slots = gates.shape[1]
        ends = counts.cumsum(0).to(torch.int32)
        pairs = tokens[torch.div(order, slots, rounding_mode="floor")]  # [P, D]
        gate, up = _grouped_linear(pairs, self.gate_up_proj, ends).chunk(2, dim=-1)
        outputs = _grouped_linear(self.act_fn(gate) * up, self.down_proj, ends)  # [P, D]
        weighted = outputs.float() * gates.reshape(-1)[order, None]
        by_slot = weighted.new_zeros(tokens.shape[0] * slots, tokens.shape[1]).index_copy(0, order, weighted)
        return by_slot.view(-1, slots, tokens.shape[1]).sum(1).to(tokens.dtype)


def _balance_loss(scores: Tensor, experts: Tensor, routed: Tensor) -> Tensor:
    """Switch's loss: (N-2) · Σ share of slots · mean probability, over the ``routed`` [T] tokens alone."""
    weight = routed.to(scores.dtype) / routed.sum().clamp(min=1)  # [T]
    importance = weight @ (scores / scores.sum(-1, keepdim=True))
    slots = torch.zeros_like(scores).scatter(1, experts, 1.0 / experts.shape[1])  # [T, N-2]
    return scores.shape[1] * torch.dot(weight @ slots, importance)


def _grouped_linear(rows: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    """Multiply consecutive groups of ``rows`` [P, in] by their expert of ``weight`` [N, out, in].

    ``ends`` int32 [N] is where each group ends. Returns [P, out] in the weight's dtype, or autocast's.
    """
    if torch.is_autocast_enabled(rows.device.type):  # grouped_mm is not on autocast's list
        weight = weight.to(torch.get_autocast_dtype(rows.device.type))
    rows = rows.to(weight.dtype)
    if _has_grouped_mm(rows, weight):
        return F.grouped_mm(rows, weight.transpose(1, 2), offs=ends)
    bounds = [0, *ends.tolist()]
    return torch.cat([F.linear(rows[bounds[i] : bounds[i + 1]], one) for i, one in enumerate(weight)])


def _has_grouped_mm(rows: Tensor, weight: Tensor) -> bool:
    """Whether torch's grouped matmul takes these: rows of 16-byte multiples, and a device that has it."""
    aligned = all(size * weight.element_size() % 16 == 0 for size in weight.shape[1:])
    if not aligned or not hasattr(F, "grouped_mm"):
        return False
    return not rows.is_cuda or torch.cuda.get_device_capability(rows.device) >= (8, 0)
