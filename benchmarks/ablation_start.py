"""Where the ablation's runs start: the first stage of moon-tiny in fewer dimensions, and a random decoder behind it.

That stage learned from teachers and saw no purchase, so no variant begins with what another was given. Its space holds
words first and what is seen behind them, widest axes first (`recipes.moon_tiny.distillation_targets`); half of
ours goes to each.
"""

from pathlib import Path

import torch
from torch import Tensor

from benchmarks.ablation_plan import AblationVariant
from moon_model.configuration_moon import CompactConfig, MoonConfig
from moon_model.evaluation.minilm import MINILM_DIMENSION as TEXT_DIMENSION
from moon_model.modeling_moon import MoonModel
from recipes.weight_import.decoder import get_compact_backbone

WIDTH, LAYERS, FFN = 128, 2, 256
DESCRIPTION_TOKENS = 16
"""Enough for the first sentence; the demo shop's descriptions say nothing of colour or pattern."""


class StartModelBuilder:
    """Builds every run's model.

    Args:
        folder: a compact model, such as ``var/train/moon-tiny-1/model``.
    """

    @torch.no_grad()
    def __init__(self, folder: Path) -> None:
        source = get_compact_backbone(MoonModel.from_pretrained(folder, dtype=torch.float32))
        rows, projector = source.decoder.embed_tokens.weight, source.projector
        turn = _turn(rows)
        small = rows @ turn
        self.rows = torch.cat([small, (1.0 - small.square().sum(1, keepdim=True)).clamp(min=0).sqrt()], 1)
        strongest = slice(-WIDTH, None)  # `alignment.fit_projector` sorts the first layer's axes so
        self.projector = {
            "fc1.weight": projector.fc1.weight[strongest],
            "fc1.bias": projector.fc1.bias[strongest],
            "fc2.weight": _turned(projector.fc2.weight[:, strongest], turn),
            "fc2.bias": _turned(projector.fc2.bias, turn),
            "linear.weight": _turned(projector.linear.weight, turn),
        }
        self.tower = source.vision.state_dict()

    def model(self, variant: AblationVariant, seed: int) -> MoonModel:
        """Return a variant's model in training mode, its tower and the projector's linear map frozen.

        Args:
            variant: its ``model`` says what is different.
            seed: of the decoder's layers.
        """
        torch.manual_seed(seed)
        base = CompactConfig(
            vocab_size=len(self.rows), hidden_size=WIDTH, intermediate_size=FFN, num_hidden_layers=LAYERS,
            num_attention_heads=4, num_key_value_heads=4, tokens_per_view=9,
        )  # fmt: skip
        settings = {
            "moe_layers": list(range(LAYERS)),
            "moe_intermediate_size": FFN // 2,  # two of four general experts cost what the dense FFN costs
            "pooling": "modalities",
            "attention_mask_type": "bidirectional",
            "max_images": 1,
            "max_description_tokens": DESCRIPTION_TOKENS,
        }
        model = MoonModel(MoonConfig(base_config=base, **(settings | variant.model)))
        backbone = get_compact_backbone(model)
        with torch.no_grad():
            backbone.decoder.embed_tokens.weight.copy_(self.rows)
            backbone.decoder.norm.weight[-1] = 0.0  # the silent dimension, see `decoder.token_rows`
        backbone.projector.load_state_dict(self.projector)
        backbone.vision.load_state_dict(self.tower)
        for frozen in (backbone.vision, backbone.projector.linear):  # as in moon-tiny's own stages
            frozen.requires_grad_(False)
        return model.train()


def _turn(rows: Tensor) -> Tensor:
    """Return orthonormal columns [D, WIDTH - 1]: the strongest directions of the words, the widest axes of pictures."""
    words = WIDTH // 2
    said = rows[:, :TEXT_DIMENSION].double()
    turn = torch.zeros(rows.shape[1], WIDTH - 1)
    turn[:TEXT_DIMENSION, :words] = torch.linalg.eigh(said.T @ said).eigenvectors[:, -words:].float()
    seen = WIDTH - 1 - words
    turn[TEXT_DIMENSION : TEXT_DIMENSION + seen, words:] = torch.eye(seen)
    return turn


def _turned(weight: Tensor, turn: Tensor) -> Tensor:
    """Let a weight [D, …] write into the turned space [WIDTH, …]; the silent dimension stays what it is."""
    return torch.cat([torch.tensordot(turn.T, weight, dims=1), weight[-1:]])
