"""Qwen2.5-VL as MOON's backbone: transformers' own classes, some FFNs replaced by ``GuidedMoE``, the vision
tower's attention by ``WindowAttention``.

Relies on ``Qwen2_5_VLModel`` (``visual``, ``language_model``, ``get_image_features``) and
``Qwen2VLImageProcessorPil`` of transformers 5.17-5.23; neither needs torchvision.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import Qwen2_5_VLModel, Qwen2VLImageProcessorPil

from moon_model.backbones.base import Backbone, compute_sequential_positions, install_experts
from moon_model.backbones.window_attention import WindowAttention
from moon_model.configuration_moon import MoonConfig


class Qwen2_5VLBackbone(Backbone):
    """Vision tower, merger and decoder of Qwen2.5-VL.

    ``pixel_values`` are flattened patches float32 [patches, patch_dim] and ``image_grid_thw`` int64 [V, 3] holds
    (frames, rows, columns) of patches of each view, as transformers' image processor gives them.
    """

    def __init__(self, config: MoonConfig) -> None:
        super().__init__(config)
        if "sliding_attention" in config.text_config.layer_types:
            raise ValueError("sliding-window Qwen2.5-VL checkpoints are not supported; set use_sliding_window=False")
        self.merge_size = config.base_config.vision_config.spatial_merge_size  # type: ignore[union-attr]
        self._take(Qwen2_5_VLModel._from_config(config.base_config, attn_implementation="sdpa"), config)

    def copy_weights(self, model: Qwen2_5_VLModel, config: MoonConfig) -> None:
        """Replace all weights by those of a loaded model; its FFNs become the experts' copies."""
        self._take(model, config)

    def _take(self, model: Qwen2_5_VLModel, config: MoonConfig) -> None:
        self.visual: Any = model.visual
        for block in self.visual.blocks:
            block.attn = WindowAttention(block.attn)
        self.decoder = model.language_model
        install_experts(self.decoder.layers, config)

    def embed_views(self, pixel_values: Tensor, image_grid_thw: Tensor | None) -> Tensor:
        """Patches [patches, patch_dim] of views [V, 3] -> [sum of rows · columns / merge², D].

        Raises ValueError without ``image_grid_thw``.
        """
        if image_grid_thw is None:
            raise ValueError("qwen2_5_vl needs image_grid_thw beside pixel_values")
        views: Tensor = self.visual(pixel_values.to(self.visual.dtype), grid_thw=image_grid_thw).pooler_output
        return views

    def positions(self, input_ids: Tensor, attention_mask: Tensor, image_grid_thw: Tensor | None) -> Tensor:
        """Multimodal RoPE positions, int64 [3, B, L]."""
        if image_grid_thw is None:
            return compute_sequential_positions(attention_mask).expand(3, -1, -1)
        image = (input_ids == self.image_token_id) & attention_mask.bool()
        return compute_mrope_positions(image, attention_mask, image_grid_thw, self.merge_size)


def compute_mrope_positions(image: Tensor, attention_mask: Tensor, grid_thw: Tensor, merge_size: int) -> Tensor:
    """Positions (time, row, column) of Qwen2.5-VL's rotary embedding, int64 [3, B, L]; 0 at padding.

    Text advances all three by one; a view stands at one time, spreads over rows and columns, and moves what
    follows by the longer of its sides. ``image`` [B, L] marks visual tokens. The same numbers as transformers'
    ``get_rope_index`` without its loop over rows; views may also touch each other.
    """
    grid = grid_thw.to(image.device) // grid_thw.new_tensor([1, merge_size, merge_size]).to(image.device)
    sizes = grid.prod(-1)
    view = torch.repeat_interleave(sizes)  # view of each visual token, in reading order
    first = sizes.cumsum(0) - sizes
    inside = torch.arange(view.shape[0], device=view.device) - first[view]
    rows, columns = grid[view, 1], grid[view, 2]
    offsets = torch.stack([inside // (rows * columns), inside // columns % rows, inside % columns])
    step = attention_mask.long().clone()
    step[image] = torch.where(inside == 0, grid[view, 1:].amax(-1), 0)
    start = step.cumsum(-1) - step  # where a text token, or the first token of a view, stands
    positions = start.expand(3, -1, -1).clone()
    positions[:, image] = start[image][first[view]] + offsets
    return positions * attention_mask.long()


def build_image_processor(config: MoonConfig) -> Qwen2VLImageProcessorPil:
    """Image preprocessing of this backbone, to be called by ``MoonProcessor`` with a list of RGB PIL images.

    ``backbone_processing(config)(images=views, return_tensors="pt")`` gives ``pixel_values`` and
    ``image_grid_thw`` as the forward expects them; a view takes ``grid.prod() // merge_size²`` image tokens.
    The size of a view lies between ``config.min_pixels`` and ``config.max_pixels``.
    """
    vision = config.base_config.vision_config  # type: ignore[union-attr]
    return Qwen2VLImageProcessorPil(
        size={"shortest_edge": config.min_pixels, "longest_edge": config.max_pixels},
        patch_size=vision.patch_size,
        temporal_patch_size=vision.temporal_patch_size,
        merge_size=vision.spatial_merge_size,
    )
