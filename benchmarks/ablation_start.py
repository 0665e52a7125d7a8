"""The start model of the ablation's runs: moon-tiny's first stage in fewer dimensions, with a small random decoder.

That stage was distilled from teachers without purchases, so no variant has an advantage. Its space has the text
dimensions first and then the visual ones by decreasing variance (`recipes.moon_tiny.distillation_targets`). The start
model has half of its dimensions for each.
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
"""Enough for the first sentence; the demo shop's descriptions name no colour or pattern."""


class StartModelBuilder:
    """Builds the start model of each run.

    Args:
        folder: folder of a compact model, such as ``var/train/moon-tiny-1/model``.
    """

    @torch.no_grad()
    def __init__(self, folder: Path) -> None:
        source = get_compact_backbone(MoonModel.from_pretrained(folder, dtype=torch.float32))
        projector = source.projector
        rows = source.decoder.embed_tokens.weight
        reduction = _compute_reduction(rows)
        reduced = rows @ reduction
        # The last dimension fills the rows up to length 1, as in `decoder.build_token_rows`.
        self.rows = torch.cat([reduced, (1.0 - reduced.square().sum(1, keepdim=True)).clamp(min=0).sqrt()], 1)
        strongest = slice(-WIDTH, None)  # `alignment.fit_projector` sorts the hidden units by variance, ascending
        self.projector = {
            "fc1.weight": projector.fc1.weight[strongest],
            "fc1.bias": projector.fc1.bias[strongest],
            "fc2.weight": _reduce_output(projector.fc2.weight[:, strongest], reduction),
            "fc2.bias": _reduce_output(projector.fc2.bias, reduction),
            "linear.weight": _reduce_output(projector.linear.weight, reduction),
        }
        self.tower = source.vision.state_dict()

    def build(self, variant: AblationVariant, seed: int) -> MoonModel:
        """Return a variant's model in training mode, with a frozen tower and a frozen linear map of the projector.

        Args:
            variant: its ``model`` has the fields of MoonConfig that differ.
            seed: seed of the decoder's layers.
        """
        torch.manual_seed(seed)
        base = CompactConfig(
            vocab_size=len(self.rows), hidden_size=WIDTH, intermediate_size=FFN, num_hidden_layers=LAYERS,
            num_attention_heads=4, num_key_value_heads=4, tokens_per_view=9,
        )  # fmt: skip
        settings = {
            "moe_layers": list(range(LAYERS)),
            "moe_intermediate_size": FFN // 2,  # two of four general experts have the cost of the dense FFN
            "pooling": "modalities",
            "attention_mask_type": "bidirectional",
            "max_images": 1,
            "max_description_tokens": DESCRIPTION_TOKENS,
        }
        model = MoonModel(MoonConfig(base_config=base, **(settings | variant.model)))
        backbone = get_compact_backbone(model)
        with torch.no_grad():
            backbone.decoder.embed_tokens.weight.copy_(self.rows)
            backbone.decoder.norm.weight[-1] = 0.0  # not part of the output, see `decoder.build_token_rows`
        backbone.projector.load_state_dict(self.projector)
        backbone.vision.load_state_dict(self.tower)
        for frozen in (backbone.vision, backbone.projector.linear):  # as in moon-tiny's stages
            frozen.requires_grad_(False)
        return model.train()


def _compute_reduction(rows: Tensor) -> Tensor:
    """Return orthonormal columns [D, WIDTH - 1]: the principal text directions, then the first visual axes."""
    text_width = WIDTH // 2
    visual_width = WIDTH - 1 - text_width
    text = rows[:, :TEXT_DIMENSION].double()
    reduction = torch.zeros(rows.shape[1], WIDTH - 1)
    reduction[:TEXT_DIMENSION, :text_width] = torch.linalg.eigh(text.T @ text).eigenvectors[:, -text_width:].float()
    reduction[TEXT_DIMENSION : TEXT_DIMENSION + visual_width, text_width:] = torch.eye(visual_width)
    return reduction


def _reduce_output(weight: Tensor, reduction: Tensor) -> Tensor:
    """Return a weight [D, …] that writes to the reduced space, [WIDTH, …]; its last output stays as it is."""
    return torch.cat([torch.tensordot(reduction.T, weight, dims=1), weight[-1:]])
