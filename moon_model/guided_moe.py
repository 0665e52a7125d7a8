"""Guided mixture of experts, which replaces the FFN of a decoder layer (docs/paper.md, "Guided mixture of experts").

N experts = N-2 general FFNs under a learned top-k router + FFN_cate + FFN_attr. A category token goes to
FFN_cate, an attribute token to FFN_attr, every other token to its k best general experts. Padding is not computed.

Relies on ``torch.nn.functional.grouped_mm`` (torch 2.10 and later; CPU and CUDA from compute capability 8.0). Where
its alignment rule or the device excludes it, a loop over experts computes the same.

Shape letters: B products, L positions of the padded batch, T real tokens, D hidden size, I width of an expert,
N experts, G = N-2 general experts, k of the top-k router, K expert slots of a token, P (token, expert) pairs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.activations import ACT2FN

from moon_model.configuration_moon import MoonConfig, Segment

UNGUIDED = -1
"""Value of ``Guide.expert`` for tokens under the router."""


@dataclass(frozen=True)
class Guide:
    """The real tokens of a padded batch and the expert that each is guided to; the same for every MoE layer.

    Attributes:
        index: Positions of the T real tokens in the flattened batch, int64 [T]; None when nothing is padded.
        expert: FFN_cate, FFN_attr or ``UNGUIDED`` for each real token, int64 [T].
        guided: Number of guided tokens (a Python int, so that no layer has to synchronise with the device).
    """

    index: Tensor | None
    expert: Tensor
    guided: int

    @classmethod
    def build(cls, attention_mask: Tensor, segment_ids: Tensor, num_experts: int) -> "Guide":
        """Build the guide of a batch from ``attention_mask`` and ``segment_ids``, both [B, L]."""
        real = attention_mask.reshape(-1).bool()
        index_T = None if bool(real.all()) else real.nonzero().squeeze(-1)
        segments = segment_ids.reshape(-1)
        segments_T = segments if index_T is None else segments[index_T]
        expert_T = torch.full_like(segments_T, UNGUIDED)
        expert_T = expert_T.masked_fill(segments_T == Segment.CATEGORY, num_experts - 2)
        expert_T = expert_T.masked_fill(segments_T == Segment.ATTRIBUTE, num_experts - 1)
        return cls(index_T, expert_T, int((expert_T != UNGUIDED).sum()))


@dataclass(frozen=True)
class RouterStats:
    """Load of the experts in one batch.

    Attributes:
        tokens_per_expert: int64 [N] for one layer, [MoE layers, N] for a model; a token under the router counts k
            times. The last two columns are FFN_cate and FFN_attr.
        balance_loss: float32 scalar, mean over layers: Switch Transformers' load-balance loss (eq. 4) over
            the general experts; 1 when routing is even, up to N-2 when one expert gets all tokens, 0 without tokens.
    """

    tokens_per_expert: Tensor
    balance_loss: Tensor

    @classmethod
    def stack(cls, layers: list["RouterStats"], like: Tensor, num_experts: int) -> "RouterStats":
        """Join the statistics of all MoE layers; an empty list gives no rows and a loss of 0.

        Args:
            layers: statistics of each layer.
            like: a tensor whose device is used where there is no layer.
            num_experts: N.
        """
        if not layers:
            return cls(like.new_zeros(0, num_experts, dtype=torch.long), like.new_zeros((), dtype=torch.float32))
        losses = torch.stack([layer.balance_loss for layer in layers])
        return cls(torch.stack([layer.tokens_per_expert for layer in layers]), losses.mean())


class GuidedMoE(nn.Module):
    """Replacement of a gated FFN (SwiGLU): hidden states [B, L, D] and a ``Guide`` in, [B, L, D] out.

    The weights of all experts are stacked, general ones first, then FFN_cate (number N-2) and FFN_attr (N-1):
    ``gate_up_proj`` [N, 2I, D] (gate rows above up rows), ``down_proj`` [N, D, I]; ``router.weight`` [G, D].
    """

    def __init__(self, config: MoonConfig) -> None:
        super().__init__()
        size = config.hidden_size
        width = config.moe_intermediate_size
        assert width is not None  # noqa: S101  # resolved by MoonConfig
        self.num_experts = config.num_experts
        self.top_k = config.num_experts_per_token
        self.soft_weight = config.soft_guidance_weight if config.guidance == "soft" else None
        self.router_score = config.router_score
        self.router = nn.Linear(size, config.num_general_experts, bias=False)
        self.gate_up_proj = nn.Parameter(torch.empty(config.num_experts, 2 * width, size))
        self.down_proj = nn.Parameter(torch.empty(config.num_experts, size, width))
        self.act_fn = ACT2FN[config.text_config.hidden_act]
        self.reset_parameters(config.initializer_range)

    @torch.no_grad()
    def reset_parameters(self, std: float) -> None:
        """Initialise router and experts from N(0, std); ``copy_dense`` overwrites the experts."""
        for weight in (self.router.weight, self.gate_up_proj, self.down_proj):
            nn.init.normal_(weight, std=std)  # nn.init, because transformers guards it for weights already loaded

    @torch.no_grad()
    def copy_dense(self, gate: Tensor, up: Tensor, down: Tensor) -> None:
        """Make every expert a copy of a dense FFN: gate, up [I, D] and down [D, I].

        With copies the layer computes what the dense FFN did, whichever experts are chosen, because the gates sum
        to 1.

        Raises:
            ValueError: the widths of expert and FFN differ.
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
        """Add noise to every expert, so that training can make copies differ.

        Args:
            share: standard deviation of the noise, as a share of the weight's own.
            seed: of the noise, which is drawn on the CPU in float32: a seed gives the same experts on every device.
        """
        generator = torch.Generator().manual_seed(seed)
        for weight in (self.gate_up_proj, self.down_proj):
            noise = torch.randn(weight.shape, generator=generator).to(weight.device)
            weight.add_((noise * (share * weight.float().std())).to(weight.dtype))

    def forward(self, hidden: Tensor, guide: Guide) -> tuple[Tensor, RouterStats]:
        """Weighted sum of the experts' outputs, [B, L, D] (zeros at padding), and this layer's statistics."""
        # Gather the real tokens of the padded batch.
        flat = hidden.reshape(-1, hidden.shape[-1])
        tokens_TD = flat if guide.index is None else flat[guide.index]
        # Choose experts and gates in float32, also under autocast.
        with torch.autocast(tokens_TD.device.type, enabled=False):
            experts_TK, gates_TK, balance_loss = self._route(tokens_TD, guide)
        # Count tokens per expert; number N marks unused slots and is not counted.
        counts_N = torch.bincount(experts_TK.reshape(-1), minlength=self.num_experts + 1)[: self.num_experts]
        # Sort the slots by expert, so that the tokens of an expert are consecutive rows. Unused slots come last and
        # are cut off; their number is computed on the host, so that there is no synchronisation with the device.
        unused = guide.guided * (self.top_k - 1) if self.soft_weight is None else len(tokens_TD) - guide.guided
        order_P = torch.sort(experts_TK.reshape(-1), stable=True).indices[: experts_TK.numel() - unused]
        mixed = self._mix(tokens_TD, gates_TK, order_P, counts_N)
        # Put the real tokens back into the padded batch.
        if guide.index is not None:
            mixed = torch.zeros_like(flat).index_copy(0, guide.index, mixed)
        return mixed.view_as(hidden), RouterStats(counts_N, balance_loss)

    def _route(self, tokens_TD: Tensor, guide: Guide) -> tuple[Tensor, Tensor, Tensor]:
        """Experts int64 [T, K] and their gates float32 [T, K] of each token, and the balance loss.

        K is k in hard mode, where a guided token uses one slot only, and k + 1 in soft mode, where the last slot is
        for guided tokens. Unused slots hold expert N and gate 0.
        """
        # Router: the k general experts with the highest scores; ties go to the lower number.
        logits_TG = F.linear(tokens_TD.float(), self.router.weight.float())
        scores_TG = logits_TG.softmax(-1) if self.router_score == "softmax" else logits_TG.sigmoid()
        ranked_TG, ranking_TG = scores_TG.sort(dim=-1, descending=True, stable=True)
        experts_Tk = ranking_TG[:, : self.top_k]
        gates_Tk = ranked_TG[:, : self.top_k]
        # Gates of a token sum to 1, also where all sigmoid scores vanish.
        gates_Tk = gates_Tk / gates_Tk.sum(-1, keepdim=True).clamp(min=torch.finfo(gates_Tk.dtype).tiny)
        # Guidance: the expert of the token's segment, N if the segment has none.
        guided_T = guide.expert != UNGUIDED
        target_T1 = torch.where(guided_T, guide.expert, self.num_experts)[:, None]
        if self.soft_weight is None:
            # Hard: a guided token gives its first slot to its expert with gate 1 and leaves the others unused.
            loss = _compute_balance_loss(scores_TG, experts_Tk, ~guided_T)
            first_1k = torch.eye(1, self.top_k, dtype=torch.bool, device=gates_Tk.device)
            guided_experts_Tk = torch.where(first_1k, target_T1, self.num_experts)
            experts_Tk = torch.where(guided_T[:, None], guided_experts_Tk, experts_Tk)
            return experts_Tk, torch.where(guided_T[:, None], first_1k.to(gates_Tk.dtype), gates_Tk), loss
        # Soft: a guided token adds a slot for its expert and scales the router's gates down by that expert's share.
        share_T1 = (guided_T * self.soft_weight)[:, None].to(gates_Tk.dtype)
        loss = _compute_balance_loss(scores_TG, experts_Tk, torch.ones_like(guided_T))
        return torch.cat([experts_Tk, target_T1], 1), torch.cat([gates_Tk * (1 - share_T1), share_T1], 1), loss

    def _mix(self, tokens_TD: Tensor, gates_TK: Tensor, order_P: Tensor, counts_N: Tensor) -> Tensor:
        """Sum of each token's expert outputs, weighted by its gates: [T, D].

        Args:
            tokens_TD: hidden states of the real tokens.
            gates_TK: float32 weights of the slots.
            order_P: used slots (indices into the flattened [T, K]), sorted by expert.
            counts_N: number of slots of each expert.
        """
        slots = gates_TK.shape[1]
        # Dispatch: one row for each (token, expert) pair; slot s belongs to token s // K.
        ends_N = counts_N.cumsum(0).to(torch.int32)
        pairs_PD = tokens_TD[torch.div(order_P, slots, rounding_mode="floor")]
        # Run every expert's SwiGLU on its consecutive rows.
        gate_PI, up_PI = _apply_experts(pairs_PD, self.gate_up_proj, ends_N).chunk(2, dim=-1)
        outputs_PD = _apply_experts(self.act_fn(gate_PI) * up_PI, self.down_proj, ends_N)
        # Combine: back to slot order, then a float32 sum over a token's slots, which does not depend on the order of
        # the batch.
        weighted_PD = outputs_PD.float() * gates_TK.reshape(-1)[order_P, None]
        by_slot = weighted_PD.new_zeros(gates_TK.numel(), tokens_TD.shape[1]).index_copy(0, order_P, weighted_PD)
        return by_slot.view(-1, slots, tokens_TD.shape[1]).sum(1).to(tokens_TD.dtype)


def _compute_balance_loss(scores_TG: Tensor, experts_Tk: Tensor, routed_T: Tensor) -> Tensor:
    """Switch's load-balance loss over the ``routed_T`` tokens: G · Σ over experts of slot share · mean probability."""
    weight_T = routed_T.to(scores_TG.dtype) / routed_T.sum().clamp(min=1)
    probability_G = weight_T @ (scores_TG / scores_TG.sum(-1, keepdim=True))
    slots_TG = torch.zeros_like(scores_TG).scatter(1, experts_Tk, 1.0 / experts_Tk.shape[1])
    return scores_TG.shape[1] * torch.dot(weight_T @ slots_TG, probability_G)


def _apply_experts(rows: Tensor, weight: Tensor, ends_N: Tensor) -> Tensor:
    """Product of consecutive groups of rows with their expert's matrix: [P, out] in the weight's dtype, or autocast's.

    Args:
        rows: [P, in], sorted by expert.
        weight: [N, out, in].
        ends_N: int32, the end of each expert's group.
    """
    if torch.is_autocast_enabled(rows.device.type):  # autocast does not know grouped_mm
        weight = weight.to(torch.get_autocast_dtype(rows.device.type))
    rows = rows.to(weight.dtype)
    if _has_grouped_mm(rows, weight):
        return F.grouped_mm(rows, weight.transpose(1, 2), offs=ends_N)
    bounds = [0, *ends_N.tolist()]
    return torch.cat([F.linear(rows[bounds[i] : bounds[i + 1]], matrix) for i, matrix in enumerate(weight)])


def _has_grouped_mm(rows: Tensor, weight: Tensor) -> bool:
    """Whether torch's grouped matmul supports the operands: rows of 16-byte multiples, and a suitable device."""
    is_aligned = all(size * weight.element_size() % 16 == 0 for size in weight.shape[1:])
    return is_aligned and (not rows.is_cuda or torch.cuda.get_device_capability(rows.device) >= (8, 0))
